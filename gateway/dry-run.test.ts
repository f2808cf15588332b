import { expect } from 'chai';
import { WorkerRole } from '#gen/stator/model/v1/model_pb.ts';
import { RouterMode } from '#gen/stator/router/v1/router_pb.ts';
import type { ErrorBody } from './testing/answers.ts';
import { encodeBytes } from './testing/byte-tokenizer.ts';
import { ask, type Body, chunksOf, stream } from './testing/extended-answers.ts';
import { startHarness, testCard, workerInstance } from './testing/harness.ts';
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
    const router = new ScriptedRouter([decision]);
    await using gateway = await startHarness({}, router);
    gateway.addWorker(7n, new ScriptedWorker());
    const { nvext } = await ask(gateway, { annotations: ['query_instance_id:prefill'] });
    expect(nvext?.['worker_id']).to.deep.equal({ prefill_worker_id: '7', prefill_dp_rank: 1 });
    const card = { ...testCard(), role: WorkerRole.PREFILL };
    gateway.addWorker(9n, new ScriptedWorker(), card);
    for (const phase of ['prefill', 'decode']) await ask(gateway, { annotations: [`query_instance_id:${phase}`] });
    const roles = router.explained.map(({ constraints }) => constraints?.role);
    // Workers that do both serve a phase that has none of its own.
    expect(roles).to.deep.equal([WorkerRole.UNSPECIFIED, WorkerRole.PREFILL, WorkerRole.UNSPECIFIED]);
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
    gateway.context.catalog.upsert(workerInstance(3n, testCard()));
    const unreachable = (await ask(gateway, { annotations })).nvext?.['routing'] as typeof told | undefined;
    expect(unreachable?.workers[2]).to.include({ excluded_because: 'the gateway has no session with it' });
    gateway.context.catalog.remove(3n);
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
