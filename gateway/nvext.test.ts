import { expect } from 'chai';
import { FinishReason } from '#gen/stator/engine/v1/generate_pb.ts';
import { CapabilitiesSchema, type ModelCard } from '#gen/stator/model/v1/model_pb.ts';
import { RouterMode } from '#gen/stator/router/v1/router_pb.ts';
import { answerNvext } from './api/schemas/answer-nvext.ts';
import type { ErrorBody } from './testing/answers.ts';
import { encodeBytes } from './testing/byte-tokenizer.ts';
import { type Harness, startHarness, testCard } from './testing/harness.ts';
import { ScriptedRouter } from './testing/scripted-router.ts';
import { answering, ScriptedWorker } from './testing/scripted-worker.ts';

const chat = { model: 'test-model', messages: [{ role: 'user', content: 'Hi' }] };
/** What the tests' tokenizer makes of `chat`. */
const promptIds = encodeBytes('<user>Hi');

const decision = {
  instanceId: 7n,
  dataParallelRank: 1,
  mode: RouterMode.KV,
  overlapTokens: 4,
  promptBlocks: 2,
  deviceBlocks: 1,
  queueUs: 1500,
  queueDepth: 3,
};
const costs = [
  { instanceId: 7n, dataParallelRank: 1, cost: 2.5, terms: { prefill_blocks: 1.5, decode_blocks: 1 }, deviceBlocks: 1 },
  { instanceId: 8n, prefillTokens: 8, excludedBecause: 'it is draining' },
];
const routing = {
  mode: 'kv',
  by_session: false,
  worker_id: '7',
  dp_rank: 1,
  prompt_tokens: 8,
  prompt_blocks: 2,
  overlap_tokens: 4,
  device_blocks: 1,
  host_blocks: 0,
  disk_blocks: 0,
  external_blocks: 0,
  shared_blocks: 0,
  queue_ms: 1.5,
  queue_depth: 3,
  workers: [
    {
      worker_id: '7',
      dp_rank: 1,
      cost: 2.5,
      terms: { prefill_blocks: 1.5, decode_blocks: 1 },
      device_blocks: 1,
      host_blocks: 0,
      disk_blocks: 0,
      external_blocks: 0,
      shared_blocks: 0,
      prefill_tokens: 0,
    },
    {
      worker_id: '8',
      dp_rank: 0,
      excluded_because: 'it is draining',
      device_blocks: 0,
      host_blocks: 0,
      disk_blocks: 0,
      external_blocks: 0,
      shared_blocks: 0,
      prefill_tokens: 8,
    },
  ],
};
const bothPhases = { prefill_worker_id: '7', prefill_dp_rank: 1, decode_worker_id: '7', decode_dp_rank: 1 };

interface Body {
  readonly choices: { readonly index: number; readonly finish_reason: string | null }[];
  readonly usage?: Record<string, unknown> | null;
  readonly nvext?: Readonly<Record<string, unknown>>;
}

interface SentEvent {
  /** Empty: a chunk. */
  readonly name: string;
  readonly data: string;
}

async function eventsOf(response: Response): Promise<SentEvent[]> {
  expect(response.headers.get('content-type')).to.equal('text/event-stream; charset=utf-8');
  const events = (await response.text()).split('\n\n').filter((event) => event !== '');
  return events.map((event) => {
    const [, name = '', data = ''] = /^(?:event: (.*)\n)?data: (.*)$/.exec(event) ?? [];
    return { name, data };
  });
}

function chunksOf(events: readonly SentEvent[]): Body[] {
  const chunks = events.filter(({ name, data }) => name === '' && data !== '[DONE]');
  return chunks.map(({ data }) => checked(JSON.parse(data) as Body));
}

async function ask(gateway: Harness, nvext: object, more: object = {}): Promise<Body> {
  const response = await gateway.post('/v1/chat/completions', { ...chat, ...more, nvext });
  expect(response.status).to.equal(200);
  return checked((await response.json()) as Body);
}

/** The body, whose extension must be what the documentation says. */
function checked(body: Body): Body {
  answerNvext.optional().parse(body.nvext);
  return body;
}

async function stream(gateway: Harness, nvext: object, more: object = {}): Promise<SentEvent[]> {
  return eventsOf(await gateway.post('/v1/chat/completions', { ...chat, ...more, stream: true, nvext }));
}

describe('dry run of routing', () => {
  it('answers worker and tokens; nothing is generated or reserved', async () => {
    const router = new ScriptedRouter([decision], costs);
    await using gateway = await startHarness({}, router);
    const worker = new ScriptedWorker();
    gateway.addWorker(7n, worker);
    const body = await ask(gateway, { annotations: ['query_instance_id:'] });
    expect(body).to.include({ object: 'chat.completion', model: 'test-model' });
    expect(body.choices).to.deep.equal([]);
    expect(body.usage).to.include({ prompt_tokens: 8, completion_tokens: 0 });
    expect(body.nvext).to.deep.equal({ worker_id: bothPhases, token_ids: promptIds });
    expect(router.explained).to.have.length(1);
    expect(router.explained[0]).to.include({ model: 'test-model', promptTokens: 8 });
    expect(router.routed).to.deep.equal([]);
    expect(router.finished).to.deep.equal([]);
    expect(worker.sequences).to.deep.equal([]);
  });

  it('answers a stream with one chunk, and explains if asked', async () => {
    const router = new ScriptedRouter([decision], costs);
    await using gateway = await startHarness({}, router);
    gateway.addWorker(7n, new ScriptedWorker());
    const annotations = ['routing', 'request_id', 'query_instance_id:'];
    const events = await stream(gateway, { annotations }, { stream_options: { include_usage: true } });
    expect(events.map(({ name }) => name)).to.deep.equal(['routing', 'request_id', '', '', '']);
    expect(events.at(-1)?.data).to.equal('[DONE]');
    const [explained] = events;
    expect(JSON.parse(explained?.data ?? '')).to.deep.include(routing);
    const [chunk, usage] = chunksOf(events);
    expect(chunk?.choices).to.deep.equal([]);
    expect(chunk?.nvext).to.deep.equal({ worker_id: bothPhases, token_ids: promptIds });
    expect(usage?.usage).to.include({ prompt_tokens: 8, completion_tokens: 0 });
    const whole = await ask(gateway, { annotations });
    expect(whole.nvext?.['routing']).to.deep.include(routing);
  });

  it('names the worker of the phase that was asked for', async () => {
    await using gateway = await startHarness({}, new ScriptedRouter([decision]));
    gateway.addWorker(7n, new ScriptedWorker());
    const { nvext } = await ask(gateway, { annotations: ['query_instance_id:prefill'] });
    expect(nvext?.['worker_id']).to.deep.equal({ prefill_worker_id: '7', prefill_dp_rank: 1 });
    const wrong = { ...chat, nvext: { annotations: ['query_instance_id:lunch'] } };
    const refused = await gateway.post('/v1/chat/completions', wrong);
    expect(refused.status).to.equal(400);
    expect((await refused.json()) as ErrorBody).to.have.nested.property('error.param', 'nvext.annotations');
  });

  it('says why when no worker can serve the request', async () => {
    await using gateway = await startHarness({}, new ScriptedRouter([], costs.slice(1)));
    gateway.addWorker(8n, new ScriptedWorker());
    const body = { ...chat, nvext: { annotations: ['query_instance_id:'] } };
    const response = await gateway.post('/v1/chat/completions', body);
    expect(response.status).to.equal(503);
    const { error } = (await response.json()) as { error: { details: unknown } };
    expect(error.details).to.deep.equal({
      workers: [{ worker_id: '8', dp_rank: 0, excluded_because: 'it is draining' }],
    });
  });

  it('answers for one prompt at a time', async () => {
    await using gateway = await startHarness({}, new ScriptedRouter([decision]));
    gateway.addWorker(7n, new ScriptedWorker());
    const completion = { model: 'test-model', nvext: { annotations: ['query_instance_id:'] } };
    const one = await gateway.post('/v1/completions', { ...completion, prompt: 'Hi' });
    expect(((await one.json()) as Body).nvext?.['token_ids']).to.deep.equal(encodeBytes('Hi'));
    const two = await gateway.post('/v1/completions', { ...completion, prompt: ['Hi', 'Ho'] });
    expect(two.status).to.equal(400);
  });

  it('is honest where no router answers: workers in turn', async () => {
    await using gateway = await startHarness();
    gateway.addWorker(1n, new ScriptedWorker(answering('ok')));
    gateway.addWorker(2n, new ScriptedWorker(answering('ok')), { ...testCard(), taints: ['big'] });
    const annotations = ['query_instance_id:', 'routing'];
    const dry = await ask(gateway, { annotations, routing_constraints: { required_taints: ['big'] } });
    expect(dry.nvext?.['worker_id']).to.include({ decode_worker_id: '2' });
    const told = dry.nvext?.['routing'] as { mode: string; workers: Record<string, unknown>[] };
    expect(told.mode).to.equal('round-robin');
    expect(told.workers[0]).to.include({ worker_id: '1', excluded_because: 'it lacks the taint big' });
    expect(told.workers[1]).to.deep.include({ worker_id: '2', cost: 0, terms: { turns_to_wait: 0 } });
    const [first, second] = [await ask(gateway, { annotations }), await ask(gateway, { annotations })];
    expect(first.nvext?.['worker_id'], 'a dry run takes no turn').to.deep.equal(second.nvext?.['worker_id']);
    const waits: unknown[] = [];
    for (let count = 0; count < 3; count++) {
      const { nvext } = await ask(gateway, { annotations: ['routing'] });
      const told = nvext?.['routing'] as { worker_id: string; workers: { cost: number }[] } | undefined;
      waits.push([told?.worker_id, ...(told?.workers ?? []).map(({ cost }) => cost)]);
    }
    expect(waits).to.deep.equal([
      ['1', 0, 1],
      ['2', 1, 0],
      ['1', 0, 1],
    ]);
  });
});

describe('routing annotation', () => {
  it('comes before the first token of a stream, and in nvext of a whole answer', async () => {
    const router = new ScriptedRouter([decision], costs);
    await using gateway = await startHarness({}, router);
    gateway.addWorker(7n, new ScriptedWorker(answering('ok')));
    const [first, second] = await stream(gateway, { annotations: ['routing'] });
    expect(first?.name).to.equal('routing');
    expect(JSON.parse(first?.data ?? '')).to.deep.include(routing);
    expect(second?.name).to.equal('');
    const { nvext } = await ask(gateway, { annotations: ['routing'] });
    expect(nvext?.['routing']).to.deep.include(routing);
    await ask(gateway, {});
    expect(router.routed.map(({ explain }) => explain)).to.deep.equal([true, true, false]);
  });

  it('comes before the first token of whichever choice is first', async () => {
    await using gateway = await startHarness({}, new ScriptedRouter([decision], costs));
    const worker = new ScriptedWorker();
    gateway.addWorker(7n, worker);
    const pending = stream(gateway, { annotations: ['routing'] }, { n: 2 });
    const [zero, one] = [await worker.sequence(0), await worker.sequence(1)];
    one.tokens('b');
    one.finish();
    // The second choice's events are written before the first one has any.
    await new Promise((resolve) => setImmediate(resolve));
    zero.tokens('a');
    zero.finish();
    const events = await pending;
    expect(events.map(({ name }) => name).indexOf('routing')).to.equal(0);
    expect(events.filter(({ name }) => name === 'routing')).to.have.length(1);
  });
});

describe('nvext of answers', () => {
  it('says where the time went and what the cache gave', async () => {
    await using gateway = await startHarness({}, new ScriptedRouter([decision]));
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
    gateway.addWorker(1n, new ScriptedWorker(answering('ok')));
    const messages = [{ role: 'user', content: 'Zoë 😀' }];
    const [first] = await stream(gateway, { annotations: ['formatted_prompt'] }, { messages });
    expect(JSON.parse(first?.data ?? '')).to.equal('<user>Zoë 😀');
    const body = { model: 'test-model', prompt: 'Zoë ', echo: true, stream: true };
    const text = await (await gateway.post('/v1/completions', body)).text();
    expect(text).to.include('"text":"Zoë "');
  });
});
