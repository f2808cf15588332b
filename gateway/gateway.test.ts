import { expect } from 'chai';
import { FinishReason } from '#gen/stator/engine/v1/generate_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { type Chunk, chunksOf, contentOf, type ErrorBody } from './testing/answers.ts';
import { encodeBytes } from './testing/byte-tokenizer.ts';
import { startHarness } from './testing/harness.ts';
import { answering, ScriptedWorker } from './testing/scripted-worker.ts';

const chat = { model: 'test-model', messages: [{ role: 'user', content: 'Hi' }] };
const completion = { model: 'test-model', prompt: 'Hi' };

describe('gateway over REST', () => {
  it('answers a chat as a whole', async () => {
    await using gateway = await startHarness();
    gateway.addWorker(1n, new ScriptedWorker(answering('Hello "wörld"\n')));
    const response = await gateway.post('/v1/chat/completions', { ...chat, model: 'test-alias' });
    expect(response.status).to.equal(200);
    const body = (await response.json()) as Record<string, unknown>;
    expect(body).to.deep.include({
      object: 'chat.completion',
      model: 'test-model',
      system_fingerprint: 'stator-070707070707',
      choices: [
        {
          index: 0,
          message: { role: 'assistant', content: 'Hello "wörld"\n', refusal: null },
          logprobs: null,
          finish_reason: 'stop',
        },
      ],
      usage: {
        prompt_tokens: 8,
        completion_tokens: 15,
        total_tokens: 23,
        prompt_tokens_details: { cached_tokens: 0 },
        completion_tokens_details: { reasoning_tokens: 0 },
      },
    });
  });

  it('streams the same text, the role in the first chunk only', async () => {
    await using gateway = await startHarness();
    gateway.addWorker(1n, new ScriptedWorker(answering('Hello "wörld" 😀\n')));
    const response = await gateway.post('/v1/chat/completions', { ...chat, stream: true });
    expect(response.headers.get('content-type')).to.equal('text/event-stream; charset=utf-8');
    const chunks = await chunksOf(response);
    expect(contentOf(chunks, 0)).to.equal('Hello "wörld" 😀\n');
    expect(chunks.map((chunk) => chunk.choices[0]?.delta?.role).filter(Boolean)).to.deep.equal(['assistant']);
    expect(chunks[0]?.choices[0]?.delta?.role).to.equal('assistant');
    expect(chunks.at(-1)?.choices[0]?.finish_reason).to.equal('stop');
  });

  it('writes chunks byte for byte as OpenAI does', async () => {
    await using gateway = await startHarness();
    const worker = new ScriptedWorker();
    gateway.addWorker(1n, worker);
    const pending = gateway.post('/v1/chat/completions', { ...chat, stream: true });
    const sequence = await worker.sequence(0);
    sequence.tokens('a"b');
    const response = await pending;
    sequence.finish(FinishReason.LENGTH);
    const text = await response.text();
    const id = /"id":"(chatcmpl-[\da-f-]+)"/.exec(text)?.[1] ?? '';
    const created = /"created":(\d+)/.exec(text)?.[1] ?? '';
    const head = `data: {"id":"${id}","object":"chat.completion.chunk","created":${created},"model":"test-model","system_fingerprint":"stator-070707070707","choices":[{"index":0,`;
    expect(text).to.equal(
      `${head}"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}\n\n` +
        `${head}"delta":{"content":"a\\"b"},"logprobs":null,"finish_reason":null}]}\n\n` +
        `${head}"delta":{},"logprobs":null,"finish_reason":"length"}]}\n\ndata: [DONE]\n\n`,
    );
  });

  it('streams completions in their own shape', async () => {
    await using gateway = await startHarness();
    gateway.addWorker(1n, new ScriptedWorker(answering('yes')));
    const chunks = await chunksOf(await gateway.post('/v1/completions', { ...completion, stream: true, echo: true }));
    expect(chunks.every((chunk) => chunk.object === 'text_completion')).to.equal(true);
    expect(chunks.map((chunk) => chunk.choices[0]?.text ?? '').join('')).to.equal('Hiyes');
  });

  it('gives usage in the last chunk, or in every chunk', async () => {
    await using gateway = await startHarness();
    gateway.addWorker(1n, new ScriptedWorker(answering('abc')));
    const body = { ...chat, stream: true, stream_options: { include_usage: true } };
    const chunks = await chunksOf(await gateway.post('/v1/chat/completions', body));
    const last = chunks.at(-1);
    expect(last?.choices).to.deep.equal([]);
    expect(last?.usage).to.deep.include({ prompt_tokens: 8, completion_tokens: 3, total_tokens: 11 });
    expect(chunks.slice(0, -1).every((chunk) => chunk.usage === null)).to.equal(true);
    const continuous = { ...body, stream_options: { continuous_usage_stats: true } };
    const counted = await chunksOf(await gateway.post('/v1/chat/completions', continuous));
    for (const chunk of counted.slice(1)) expect(chunk.usage?.prompt_tokens).to.equal(8);
  });

  it('withholds stop strings across frames and cuts the engine off', async () => {
    await using gateway = await startHarness();
    const worker = new ScriptedWorker();
    gateway.addWorker(1n, worker);
    const pending = gateway.post('/v1/chat/completions', { ...chat, stream: true, stop: ['STOP', '\n\n'] });
    const sequence = await worker.sequence(0);
    for (const piece of ['one S', 'TO two\n', 'ST', 'OP three']) {
      sequence.tokens(piece);
      await new Promise((resolve) => setImmediate(resolve));
    }
    const chunks = await chunksOf(await pending);
    expect(contentOf(chunks, 0)).to.equal('one STO two\n');
    expect(chunks.at(-1)?.choices[0]?.finish_reason).to.equal('stop');
    expect(sequence.cancelled).to.equal(true);
  });

  it('releases withheld text when the output ends', async () => {
    await using gateway = await startHarness();
    gateway.addWorker(1n, new ScriptedWorker(answering('almost STO')));
    const chunks = await chunksOf(await gateway.post('/v1/chat/completions', { ...chat, stream: true, stop: 'STOP' }));
    expect(contentOf(chunks, 0)).to.equal('almost STO');
  });

  it('keeps the stop string when asked, and ignores stops before min_tokens', async () => {
    await using gateway = await startHarness();
    gateway.addWorker(1n, new ScriptedWorker(answering('a.b.c.d')));
    const body = { ...completion, stop: '.', include_stop_str_in_output: true, min_tokens: 4 };
    const response = await gateway.post('/v1/completions', body);
    const answer = (await response.json()) as { choices: { text: string; finish_reason: string }[] };
    expect(answer.choices[0]).to.deep.include({ text: 'a.b.', finish_reason: 'stop' });
  });

  it('numbers choices over prompts and counts every token', async () => {
    await using gateway = await startHarness();
    gateway.addWorker(
      1n,
      new ScriptedWorker((sequence) => answering(`<${sequence.request.tokenIds.length}>`)(sequence)),
    );
    const body = { ...completion, prompt: [encodeBytes('abc'), encodeBytes('defg')], n: 2, temperature: 1 };
    const response = await gateway.post('/v1/completions', body);
    const answer = (await response.json()) as {
      choices: { index: number; text: string }[];
      usage: { prompt_tokens: number; completion_tokens: number };
    };
    expect(answer.choices.map(({ index, text }) => [index, text])).to.deep.equal([
      [0, '<3>'],
      [1, '<3>'],
      [2, '<4>'],
      [3, '<4>'],
    ]);
    expect(answer.usage).to.deep.include({ prompt_tokens: 7, completion_tokens: 12 });
  });

  it('streams n choices, each with its own role and end, and seeds of their own', async () => {
    await using gateway = await startHarness();
    const worker = new ScriptedWorker(answering('hey'));
    gateway.addWorker(1n, worker);
    const chunks = await chunksOf(
      await gateway.post('/v1/chat/completions', { ...chat, stream: true, n: 3, seed: 41 }),
    );
    for (const index of [0, 1, 2]) expect(contentOf(chunks, index)).to.equal('hey');
    expect(chunks.filter((chunk) => chunk.choices[0]?.finish_reason === 'stop')).to.have.length(3);
    expect(worker.sequences.map(({ request }) => request.sampling?.seed)).to.deep.equal([41n, 42n, 43n]);
  });

  it('gives log-probabilities of chats and completions in their shapes', async () => {
    await using gateway = await startHarness();
    gateway.addWorker(1n, new ScriptedWorker(answering('ab')));
    const chatBody = { ...chat, logprobs: true, top_logprobs: 2 };
    const whole = (await (await gateway.post('/v1/chat/completions', chatBody)).json()) as {
      choices: { logprobs: { content: unknown[] } }[];
    };
    const first = {
      token: 'a',
      logprob: -0.5,
      bytes: [97],
      top_logprobs: [
        { token: 'a', logprob: -0.5, bytes: [97] },
        { token: 'b', logprob: -1.5, bytes: [98] },
      ],
    };
    expect(whole.choices[0]?.logprobs.content).to.have.length(2);
    expect(whole.choices[0]?.logprobs.content[0]).to.deep.equal(first);
    const chunks = await chunksOf(await gateway.post('/v1/chat/completions', { ...chatBody, stream: true }));
    const content = chunks.flatMap((chunk) => chunk.choices[0]?.logprobs?.content ?? []);
    expect(content).to.deep.equal(whole.choices[0]?.logprobs.content);
    const response = await gateway.post('/v1/completions', { ...completion, logprobs: 1 });
    const text = (await response.json()) as { choices: { logprobs: unknown }[] };
    expect(text.choices[0]?.logprobs).to.deep.equal({
      tokens: ['a', 'b'],
      token_logprobs: [-0.5, -0.5],
      top_logprobs: [{ a: -0.5 }, { b: -0.5 }],
      text_offset: [0, 1],
    });
  });

  it('asks the engine for what the context leaves by default', async () => {
    await using gateway = await startHarness();
    const worker = new ScriptedWorker(answering('x'));
    gateway.addWorker(1n, worker);
    await (await gateway.post('/v1/completions', { ...completion, prompt: 'x'.repeat(96) })).text();
    expect((await worker.sequence(0)).request.stop?.maxTokens).to.equal(4000);
  });

  it('turns an early refusal of the engine into a status, also of a stream', async () => {
    await using gateway = await startHarness();
    gateway.addWorker(1n, new ScriptedWorker((sequence) => sequence.fail('invalid_argument', 'bad grammar', false)));
    for (const stream of [false, true]) {
      const response = await gateway.post('/v1/chat/completions', { ...chat, stream });
      expect(response.status).to.equal(400);
      expect(((await response.json()) as ErrorBody).error.message).to.equal('bad grammar');
    }
  });

  it('tells a late failure as an event and ends the stream', async () => {
    await using gateway = await startHarness({ migrationLimit: 0 });
    const worker = new ScriptedWorker();
    gateway.addWorker(1n, worker);
    const pending = gateway.post('/v1/chat/completions', { ...chat, stream: true });
    const sequence = await worker.sequence(0);
    sequence.tokens('half');
    const response = await pending;
    sequence.fail('engine_failed', 'out of memory', true);
    const events = (await response.text()).trimEnd().split('\n\n');
    expect(JSON.parse(events.at(-2)?.slice(6) ?? '')).to.deep.equal({
      error: { message: 'out of memory', type: 'server_error', param: null, code: 'engine_failed' },
    });
    expect(events.at(-1)).to.equal('data: [DONE]');
  });

  it('answers 503 with a time to retry while no worker is reachable', async () => {
    await using gateway = await startHarness();
    const worker = new ScriptedWorker();
    worker.refuse = new StatorError('worker_unavailable', 'not connected');
    gateway.addWorker(1n, worker);
    const response = await gateway.post('/v1/chat/completions', chat);
    expect(response.status).to.equal(503);
    expect(response.headers.get('retry-after')).to.equal('1');
  });

  it('ends a request at its deadline, here and in the engine', async () => {
    await using gateway = await startHarness({ requestTimeoutSeconds: 1 });
    const worker = new ScriptedWorker();
    gateway.addWorker(1n, worker);
    const response = await gateway.post('/v1/chat/completions', chat);
    expect(response.status).to.equal(504);
    expect((await worker.sequence(0)).cancelled).to.equal(true);
  });

  it('refuses new requests once it drains, and lets running ones finish', async () => {
    await using gateway = await startHarness();
    const worker = new ScriptedWorker();
    gateway.addWorker(1n, worker);
    const pending = gateway.post('/v1/chat/completions', chat);
    const sequence = await worker.sequence(0);
    gateway.drain();
    const refused = await gateway.post('/v1/chat/completions', chat);
    expect(refused.status).to.equal(503);
    expect(((await refused.json()) as ErrorBody).error.code).to.equal('draining');
    expect((await fetch(`${gateway.url}/health`)).status).to.equal(503);
    sequence.tokens('done');
    sequence.finish();
    expect((await pending).status).to.equal(200);
  });

  it('refuses requests beyond its bound', async () => {
    await using gateway = await startHarness({ maxRequests: 1 });
    const worker = new ScriptedWorker();
    gateway.addWorker(1n, worker);
    const pending = gateway.post('/v1/chat/completions', chat);
    const sequence = await worker.sequence(0);
    expect((await gateway.post('/v1/chat/completions', chat)).status).to.equal(529);
    sequence.finish();
    expect((await pending).status).to.equal(200);
  });

  it('honours the extension object', async () => {
    await using gateway = await startHarness();
    const worker = new ScriptedWorker(answering('ok'));
    gateway.addWorker(1n, new ScriptedWorker());
    gateway.addWorker(7n, worker);
    const nvext = {
      backend_instance_id: '7',
      greed_sampling: true,
      cache_salt: 'tenant',
      token_data: [50, 51],
      annotations: ['request_id', 'token_ids'],
      extra_fields: ['worker_id', 'stop_reason', 'completion_token_ids'],
      agent_hints: { priority: 3 },
    };
    const response = await gateway.post('/v1/chat/completions', { ...chat, stream: true, temperature: 1, nvext });
    const text = await response.text();
    expect(text).to.include('event: token_ids\ndata: [50,51]\n\n').and.to.include('event: request_id\n');
    expect(text)
      .to.include('"decode_worker_id":"7"')
      .and.to.include(`"completion_token_ids":[${encodeBytes('ok').join(',')}]`);
    const { request } = await worker.sequence(0);
    expect(request.tokenIds).to.deep.equal([50, 51]);
    expect(request.sampling?.temperature).to.equal(0);
    expect(request.cache?.cacheSalt).to.equal('tenant');
    expect(request.priority).to.equal(3);
  });

  it('lets headers win over the body', async () => {
    await using gateway = await startHarness();
    const worker = new ScriptedWorker(answering('ok'));
    gateway.addWorker(1n, new ScriptedWorker());
    gateway.addWorker(7n, worker);
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    const headers = {
      'content-type': 'application/json',
      'x-worker-instance-id': '7',
      'x-tenant-id': 'acme',
      'x-dynamo-request-priority': '-2',
      'x-request-id': 'abc-123',
      traceparent,
    };
    const body = { ...chat, nvext: { backend_instance_id: 1, cache_salt: 'x' } };
    const response = await gateway.post('/v1/chat/completions', body, { headers });
    expect(response.status).to.equal(200);
    expect(response.headers.get('x-request-id')).to.equal('abc-123');
    const { request } = await worker.sequence(0);
    expect(request.cache?.cacheSalt).to.equal('acme');
    expect(request.priority).to.equal(-2);
    expect(request.traceparent.split('-')[1]).to.equal(traceparent.split('-')[1]);
  });

  it('keeps the order of a stream of many frames at once in one event', async () => {
    await using gateway = await startHarness();
    const worker = new ScriptedWorker();
    gateway.addWorker(1n, worker);
    const pending = gateway.post('/v1/chat/completions', { ...chat, stream: true });
    const sequence = await worker.sequence(0);
    for (const letter of 'abcdef') sequence.tokens(letter);
    const response = await pending;
    sequence.finish();
    const chunks: Chunk[] = await chunksOf(response);
    expect(chunks.map((chunk) => chunk.choices[0]?.delta?.content).filter(Boolean)).to.deep.equal(['abcdef']);
  });

  it('gives up on a router that does not answer', async () => {
    await using gateway = await startHarness({ routeTimeoutSeconds: 1 });
    gateway.addWorker(1n, new ScriptedWorker(answering('ok')));
    const { router } = gateway.context.pipeline;
    router.route = (_request, signal) =>
      new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    const response = await gateway.post('/v1/chat/completions', chat);
    expect(response.status).to.equal(529);
    expect(((await response.json()) as ErrorBody).error.code).to.equal('overloaded');
  });
});
