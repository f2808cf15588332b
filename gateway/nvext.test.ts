import { expect } from 'chai';
import { FinishReason } from '#gen/stator/engine/v1/generate_pb.ts';
import { CapabilitiesSchema, type ModelCard } from '#gen/stator/model/v1/model_pb.ts';
import { encodeBytes } from './testing/byte-tokenizer.ts';
import { ask, chunksOf, eventsOf, stream } from './testing/extended-answers.ts';
import { startHarness, testCard } from './testing/harness.ts';
import { ScriptedRouter } from './testing/scripted-router.ts';
import { answering, ScriptedWorker } from './testing/scripted-worker.ts';

const chat = { model: 'test-model', messages: [{ role: 'user', content: 'Hi' }] };
/** What the tests' tokenizer makes of `chat`. */
const promptIds = encodeBytes('<user>Hi');

describe('nvext of answers', () => {
  it('says where the time went and what the cache gave', async () => {
    await using gateway = await startHarness({}, new ScriptedRouter([{ instanceId: 7n, queueDepth: 3 }]));
    const worker = new ScriptedWorker((sequence) => {
      sequence.prefilled(6, { queueUs: 10, prefillUs: 20 });
      sequence.tokens('ok');
      sequence.finish();
    });
    gateway.addWorker(7n, worker);
    const { nvext } = await ask(gateway, { extra_fields: ['timing'] });
    const timing = nvext?.['timing'] as Record<string, number>;
    const { prefill_wait_time_ms: wait = NaN, prefill_time_ms: prefill = NaN, ttft_ms: ttft = NaN } = timing;
    expect(wait + prefill).to.be.closeTo(ttft, 0.01);
    expect(timing['total_time_ms']).to.be.at.least(ttft);
    expect(timing['request_received_ms']).to.be.closeTo(Date.now(), 60_000);
    expect(timing).to.include({ kv_hit_rate: 0.75, router_queue_depth: 3 });
    worker.script = answering('');
    const untold = await ask(gateway, { extra_fields: ['timing'] }, { max_tokens: 1 });
    expect(untold.nvext?.['timing']).not.to.have.property('ttft_ms');
  });

  it('names the last worker of each choice; timing comes once, at the end', async () => {
    const router = new ScriptedRouter([{ instanceId: 1n }, { instanceId: 2n }]);
    await using gateway = await startHarness({}, router);
    const [first, second] = [new ScriptedWorker(), new ScriptedWorker()];
    gateway.addWorker(1n, first);
    gateway.addWorker(2n, second);
    const asked = { extra_fields: ['worker_id', 'timing', 'prompt_token_ids'] };
    const pending = stream(gateway, asked, { n: 2 });
    const [stays, moves] = [await first.sequence(0), await first.sequence(1)];
    stays.prefilled(4);
    stays.tokens('a');
    moves.tokens('b');
    moves.lose();
    const moved = await second.sequence(0);
    moved.prefilled(8);
    moved.tokens('c');
    moved.finish();
    await new Promise((resolve) => setImmediate(resolve));
    stays.tokens('d');
    stays.finish();
    const ends = chunksOf(await pending).filter(({ choices }) => typeof choices[0]?.finish_reason === 'string');
    const byChoice = ends.map(({ choices, nvext }) => [
      choices[0]?.index,
      (nvext?.['worker_id'] as { decode_worker_id: string } | undefined)?.decode_worker_id,
    ]);
    expect(byChoice).to.deep.equal([
      [1, '2'],
      [0, '1'],
    ]);
    expect(ends[0]?.nvext).to.have.all.keys('worker_id');
    expect(ends[1]?.nvext).to.have.all.keys('worker_id', 'timing', 'prompt_token_ids');
    expect(ends[1]?.nvext?.['timing'], 'of the worker of the first token').to.include({ kv_hit_rate: 0.5 });
  });

  it('counts the cache of the worker that gave the first token', async () => {
    await using gateway = await startHarness({}, new ScriptedRouter([{ instanceId: 1n }, { instanceId: 2n }]));
    const lost = new ScriptedWorker((sequence) => {
      sequence.prefilled(8);
      sequence.lose();
    });
    gateway.addWorker(1n, lost);
    const next = new ScriptedWorker((sequence) => {
      sequence.prefilled(2);
      sequence.tokens('ok');
      sequence.finish();
    });
    gateway.addWorker(2n, next);
    const body = await ask(gateway, { extra_fields: ['timing'] });
    expect(body.usage?.['prompt_tokens_details']).to.deep.equal({ cached_tokens: 2 });
    expect(body.nvext?.['timing']).to.include({ kv_hit_rate: 0.25 });
  });

  it('sends output tokens with the chunks that bring their text', async () => {
    await using gateway = await startHarness();
    const worker = new ScriptedWorker();
    gateway.addWorker(1n, worker);
    const asked = { extra_fields: ['completion_token_ids'] };
    const pending = gateway.post('/v1/chat/completions', { ...chat, stream: true, nvext: asked });
    const sequence = await worker.sequence(0);
    const [lead = 0, ...rest] = encodeBytes('é');
    sequence.tokens('ab');
    const response = await pending;
    sequence.tokens([lead]);
    sequence.tokens(rest);
    await new Promise((resolve) => setImmediate(resolve));
    sequence.tokens([lead]);
    sequence.finish();
    const chunks = chunksOf(await eventsOf(response));
    const parts = chunks.flatMap(({ nvext }) => (nvext === undefined ? [] : [nvext['completion_token_ids']]));
    expect(parts[0]).to.deep.equal(encodeBytes('ab'));
    expect(parts.flat()).to.deep.equal([...encodeBytes('abé'), lead]);
    worker.script = answering('abc');
    const whole = await ask(gateway, asked);
    expect(whole.nvext).to.deep.equal({ completion_token_ids: encodeBytes('abc') });
  });

  it('tells the end of the model from a stop that was asked for', async () => {
    await using gateway = await startHarness();
    const worker = new ScriptedWorker();
    gateway.addWorker(1n, worker);
    const asked = { extra_fields: ['stop_reason', 'detailed_finish_reason'] };
    const ended = async (script: ScriptedWorker['script'], more: object) => {
      worker.script = script;
      const { choices, nvext } = await ask(gateway, asked, more);
      return [choices[0]?.finish_reason, nvext?.['detailed_finish_reason'], nvext?.['stop_reason']];
    };
    expect(await ended((sequence) => sequence.finish(FinishReason.STOP, 2), {})).to.deep.equal(['stop', 'eos', 2]);
    const stopToken = { stop_token_ids: [50] };
    expect(await ended((sequence) => sequence.finish(FinishReason.STOP, 50), stopToken)).to.deep.equal([
      'stop',
      'stop',
      50,
    ]);
    expect(await ended(answering('a"é.'), { stop: ['"é'] })).to.deep.equal(['stop', 'stop', '"é']);
    expect(await ended(answering('abc'), { max_tokens: 2 })).to.deep.equal(['length', 'length', null]);
  });

  it('carries the log-probabilities of the prompt', async () => {
    await using gateway = await startHarness();
    const card: ModelCard = testCard();
    const capabilities = { ...(card.capabilities ?? { $typeName: CapabilitiesSchema.typeName }), promptLogprobs: true };
    const worker = new ScriptedWorker((sequence) => {
      const chosen = { tokenId: promptIds[1] ?? 0, logprob: -0.25, rank: 1 };
      const asked = sequence.request.output?.promptLogprobs !== undefined;
      sequence.prefilled(0, asked ? { promptLogprobs: [{ chosen, top: [chosen] }] } : {});
      sequence.tokens('ok');
      sequence.finish();
    });
    gateway.addWorker(1n, worker, { ...card, capabilities } as ModelCard);
    const asked = { extra_fields: ['prompt_logprobs'] };
    const logprob = { logprob: -0.25, rank: 1, decoded_token: 'u' };
    const expected = { prompt_logprobs: [null, { [String(promptIds[1])]: logprob }] };
    const last = chunksOf(await stream(gateway, asked, { prompt_logprobs: 1 })).at(-1);
    expect(last?.nvext).to.deep.equal(expected);
    expect((await ask(gateway, asked, { prompt_logprobs: 1 })).nvext).to.deep.equal(expected);
  });

  it('writes text of prompts as UTF-8 beside plain output', async () => {
    await using gateway = await startHarness();
    const worker = new ScriptedWorker();
    gateway.addWorker(1n, worker);
    // The prompt's text must go out with output that has more to come: the end of a stream is written in another way.
    const begun = async (index: number, path: string, body: object): Promise<string> => {
      const pending = gateway.post(path, { model: 'test-model', stream: true, ...body });
      const sequence = await worker.sequence(index);
      sequence.tokens('ok');
      const response = await pending;
      sequence.finish();
      return response.text();
    };
    const messages = [{ role: 'user', content: 'Zoë 😀' }];
    const nvext = { annotations: ['formatted_prompt'] };
    expect(await begun(0, '/v1/chat/completions', { messages, nvext })).to.include('data: "<user>Zoë 😀"');
    expect(await begun(1, '/v1/completions', { prompt: 'Zoë ', echo: true })).to.include('"text":"Zoë "');
  });
});
