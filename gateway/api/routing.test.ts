import { toJson } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { Task } from '#gen/stator/model/v1/model_pb.ts';
import { RouteRequestSchema } from '#gen/stator/router/v1/router_pb.ts';
import type { ErrorBody } from '../testing/answers.ts';
import { asked, type RequestHeaders, routed, routeOf } from '../testing/asked.ts';
import { startHarness, testCard } from '../testing/harness.ts';
import { ScriptedRouter } from '../testing/scripted-router.ts';
import { answering, ScriptedWorker } from '../testing/scripted-worker.ts';

describe('what the router is asked', () => {
  it('is little for a plain request', async () => {
    const before = Date.now();
    const route = await routed();
    expect(Number(route.arrivalUnixMs)).to.be.within(before, Date.now());
    const { requestId, arrivalUnixMs: _, ...rest } = toJson(RouteRequestSchema, route) as Record<string, unknown>;
    expect(requestId).to.match(/^[\da-f-]{36}$/);
    expect(rest).to.deep.equal({
      model: 'test-model',
      promptTokens: 8,
      kvBlockSize: 16,
      constraints: {},
      overrides: {},
      queueTimeoutMs: 30_000,
      sequences: 1,
    });
  });

  it('is everything that a client can say', async () => {
    const nvext = {
      dp_rank: 3,
      backend_instance_id: '18446744073709551615',
      agent_hints: { priority: 5, strict_priority: 2, osl: 700 },
      request_timestamp_ms: 1_700_000_000_123.75,
      routing_constraints: {
        required_taints: ['zone-a'],
        preferred_taints: { ssd: 0.5 },
        allowed_worker_ids: [1, '18446744073709551615'],
      },
      router: { mode: 'least-loaded', overlap_credit: 0.5, prefill_load_scale: 2, temperature: 0.25 },
      session_control: { session_id: 'conversation', action: 'bind' },
    };
    const headers = { 'x-dynamo-meta-policy-class': 'batch', 'x-stator-timeout-ms': '5000' };
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    const before = Date.now();
    const route = await routed({ n: 2, nvext }, { ...headers, traceparent, tracestate: 'a=b' });
    const { requestId: _, deadlineUnixMs, ...rest } = toJson(RouteRequestSchema, route) as Record<string, unknown>;
    expect(Number(deadlineUnixMs)).to.be.within(before + 5000, Date.now() + 5000);
    expect(rest).to.deep.equal({
      model: 'test-model',
      promptTokens: 8,
      kvBlockSize: 16,
      constraints: {
        instanceId: '18446744073709551615',
        dataParallelRank: 3,
        allowedInstanceIds: ['1', '18446744073709551615'],
        requiredTaints: ['zone-a'],
        preferredTaints: { ssd: 0.5 },
      },
      mode: 'ROUTER_MODE_LEAST_LOADED',
      overrides: { overlapCredit: 0.5, prefillLoadScale: 2, temperature: 0.25 },
      expectedOutputTokens: 700,
      priority: 5,
      strictPriority: 2,
      queueTimeoutMs: 30_000,
      sessionId: 'conversation',
      policyClass: 'batch',
      sequences: 2,
      traceparent,
      tracestate: 'a=b',
      arrivalUnixMs: '1700000000123',
    });
  });

  it('has the output tokens that are certain or hinted', async () => {
    const expected = async (change: object) => (await routed(change)).expectedOutputTokens;
    const osl = { agent_hints: { osl: 50 } };
    expect(await expected({ max_tokens: 20 })).to.equal(undefined);
    expect(await expected({ max_tokens: 20, ignore_eos: true })).to.equal(20);
    expect(await expected({ max_tokens: 20, ignore_eos: true, stop: ['x'] })).to.equal(undefined);
    expect(await expected({ max_tokens: 20, nvext: osl })).to.equal(20);
    expect(await expected({ max_tokens: 90, nvext: osl })).to.equal(50);
    expect(await expected({ nvext: osl })).to.equal(50);
  });

  it('has one pin whichever half names it', async () => {
    const pin = async (nvext: object, headers: RequestHeaders = {}) => {
      const { constraints } = await routed({ nvext }, headers);
      return [constraints?.instanceId, constraints?.dataParallelRank];
    };
    expect(await pin({ decode_worker_id: 9 })).to.deep.equal([9n, undefined]);
    expect(await pin({ prefill_worker_id: 9, prefill_dp_rank: 1 })).to.deep.equal([9n, 1]);
    expect(await pin({ prefill_worker_id: '9', decode_worker_id: 9, backend_instance_id: 9 })).to.deep.equal([
      9n,
      undefined,
    ]);
    expect(await pin({ dp_rank: 4294967295, prefill_dp_rank: 2 })).to.deep.equal([undefined, 2]);
    expect(await pin({ dp_rank: 1 }, { 'x-dp-rank': '4294967295' })).to.deep.equal([undefined, 1]);
  });

  it('keeps all 64 bits of identifiers that are numbers', async () => {
    const router = new ScriptedRouter([{ instanceId: 1n }]);
    await using gateway = await startHarness({}, router);
    gateway.addWorker(1n, new ScriptedWorker(answering('ok')));
    const post = (nvext: string, more = '') =>
      gateway.post('/v1/completions', `{"model":"test-model","prompt":"Hi"${more},"nvext":${nvext}}`);
    const pinned = await post(
      '{"backend_instance_id":18446744073709551615,"routing_constraints":{"allowed_worker_ids":[9007199254740993]}}',
    );
    expect(pinned.status, await pinned.text()).to.equal(200);
    expect(routeOf(router).constraints).to.include({ instanceId: 18446744073709551615n });
    expect(routeOf(router).constraints?.allowedInstanceIds).to.deep.equal([9007199254740993n]);
    for (const [nvext, param] of [
      ['{"backend_instance_id":18446744073709551616}', 'nvext.backend_instance_id'],
      ['{"backend_instance_id":1e19}', 'nvext.backend_instance_id'],
      ['{"decode_worker_id":-9007199254740993}', 'nvext.decode_worker_id'],
    ] as const) {
      const { error } = (await (await post(nvext)).json()) as ErrorBody;
      expect(error.param, nvext).to.equal(param);
    }
    const seed = await post('{"backend_instance_id":1}', ',"seed":9007199254740993');
    expect(((await seed.json()) as ErrorBody).error).to.include({ param: 'seed' });
    const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
    const nested = await post('{"backend_instance_id":1}', `,"deep":${deep}`);
    expect(((await nested.json()) as ErrorBody).error).to.include({ param: 'deep' });
  });

  it('is told for embeddings too', async () => {
    const router = new ScriptedRouter([{ instanceId: 1n }]);
    await using gateway = await startHarness({}, router);
    const card = testCard();
    const capabilities = card.capabilities && { ...card.capabilities, tasks: [Task.EMBEDDING] };
    gateway.addWorker(1n, new ScriptedWorker(), { ...card, capabilities });
    const headers = { 'content-type': 'application/json', 'x-dynamo-session-id': 's' };
    const nvext = {
      backend_instance_id: 1,
      agent_hints: { priority: 2 },
      routing_constraints: { required_taints: ['a'] },
    };
    const body = { model: 'test-model', input: 'Hi', nvext };
    // Scripted workers cannot be called; that the router was asked is enough here.
    expect((await gateway.post('/v1/embeddings', body, { headers })).status).to.equal(501);
    expect(routeOf(router)).to.include({ priority: 2, sessionId: 's', promptTokens: 2, queueTimeoutMs: 30_000 });
    expect(routeOf(router).constraints).to.deep.include({ instanceId: 1n, requiredTaints: ['a'] });
    const refused = await gateway.post('/v1/embeddings', { ...body, nvext: { token_data: [1] } });
    expect(((await refused.json()) as ErrorBody).error).to.include({ param: 'nvext.token_data' });
  });

  it('tells the queue of the older latency hint, and the engine not', async () => {
    const hinted = await asked({ nvext: { agent_hints: { latency_sensitivity: 2.5 } } });
    expect([hinted.route?.priority, hinted.engine?.priority]).to.deep.equal([2.5, 0]);
    const both = await asked({ nvext: { agent_hints: { latency_sensitivity: 2.5, priority: 4 } } });
    expect([both.route?.priority, both.engine?.priority]).to.deep.equal([4, 4]);
  });

  it('has a session from whoever names one, and of the longest cache key a digest', async () => {
    const session = async (change: object, headers: RequestHeaders = {}) => (await routed(change, headers)).sessionId;
    const body = {
      prompt_cache_key: 'key',
      nvext: {
        agent_hints: { prefix_id: 'prefix' },
        agent_context: { session_id: 'agent' },
        session_control: { session_id: 'control' },
      },
    };
    const { session_control: _, ...withoutControl } = body.nvext;
    expect(await session({ prompt_cache_key: 'key' })).to.equal('key');
    expect(await session({ ...body, nvext: { agent_hints: { prefix_id: 'prefix' } } })).to.equal('prefix');
    expect(await session({ ...body, nvext: withoutControl })).to.equal('agent');
    expect(await session(body)).to.equal('control');
    expect(await session(body, { 'x-session-id': 'opencode' })).to.equal('opencode');
    expect(await session(body, { 'x-session-id': 'a', 'thread-id': 'codex' })).to.equal('codex');
    const claude = { 'thread-id': 'a', 'x-claude-code-session-id': 'claude' };
    expect(await session(body, claude)).to.equal('claude');
    expect(await session(body, { ...claude, 'x-claude-code-agent-id': 'child' })).to.equal('child');
    expect(await session(body, { ...claude, 'x-dynamo-session-id': 'dynamo' })).to.equal('dynamo');
    expect(await session(body, { 'x-dynamo-session-id': 'dynamo', 'x-stator-session-id': 'own' })).to.equal('own');
    expect(await session({ prompt_cache_key: 'k'.repeat(512) })).to.match(/^sha256:[\da-f]{64}$/);
  });
});
