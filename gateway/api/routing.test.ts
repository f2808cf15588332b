import { toJson } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { type RouteRequest, RouteRequestSchema } from '#gen/stator/router/v1/router_pb.ts';
import type { ErrorBody } from '../testing/answers.ts';
import { startHarness } from '../testing/harness.ts';
import { ScriptedRouter } from '../testing/scripted-router.ts';
import { answering, ScriptedWorker } from '../testing/scripted-worker.ts';
import { headerWishes } from './translate/header-wishes.ts';

type Headers = Record<string, string> | [string, string][];

/** What the router and the engine were asked for a chat with these headers and changes. */
async function asked(change: object = {}, headers: Headers = {}) {
  const router = new ScriptedRouter([{ instanceId: 1n }]);
  await using gateway = await startHarness({}, router);
  const worker = new ScriptedWorker(answering('ok'));
  gateway.addWorker(1n, worker);
  const body = { model: 'test-alias', messages: [{ role: 'user', content: 'Hi' }], ...change };
  const all = new globalThis.Headers(headers);
  all.set('content-type', 'application/json');
  const response = await gateway.post('/v1/chat/completions', body, { headers: all });
  const text = await response.text();
  if (response.status !== 200) {
    const { error } = JSON.parse(text) as ErrorBody;
    return { status: response.status, error };
  }
  const { request } = await worker.sequence(0);
  return { status: 200, route: routeOf(router), engine: request };
}

function routeOf(router: ScriptedRouter): RouteRequest {
  const [route] = router.routed;
  if (route === undefined) throw new Error('the router was not asked');
  return route;
}

async function routed(change: object = {}, headers: Headers = {}): Promise<RouteRequest> {
  const { route, error } = await asked(change, headers);
  if (route === undefined) throw new Error(`refused: ${error?.message}`);
  return route;
}

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
      router: { mode: 'least_loaded', overlap_credit: 0.5, prefill_load_scale: 2, temperature: 0.25 },
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
    const pin = async (nvext: object, headers: Headers = {}) => {
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

  it('tells the queue of the older latency hint, and the engine not', async () => {
    const hinted = await asked({ nvext: { agent_hints: { latency_sensitivity: 2.5 } } });
    expect([hinted.route?.priority, hinted.engine?.priority]).to.deep.equal([2.5, 0]);
    const both = await asked({ nvext: { agent_hints: { latency_sensitivity: 2.5, priority: 4 } } });
    expect([both.route?.priority, both.engine?.priority]).to.deep.equal([4, 4]);
  });

  it('has a session from whoever names one, and of the longest cache key a digest', async () => {
    const session = async (change: object, headers: Headers = {}) => (await routed(change, headers)).sessionId;
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

/** A header, the body's word for the same, and how either shows in what router and engine are asked. */
const headerCases: readonly [
  names: string[],
  value: string,
  body: object,
  (of: Asked) => unknown,
  header: unknown,
  own: unknown,
][] = [
  [
    ['x-stator-worker-instance-id', 'x-dynamo-worker-instance-id', 'x-worker-instance-id'],
    '8',
    { nvext: { backend_instance_id: 9, decode_worker_id: 9 } },
    ({ route }) => route?.constraints?.instanceId,
    8n,
    9n,
  ],
  [
    ['x-stator-prefill-instance-id', 'x-dynamo-prefill-instance-id', 'x-prefill-instance-id'],
    '8',
    { nvext: { prefill_worker_id: 9 } },
    ({ route }) => route?.constraints?.instanceId,
    8n,
    9n,
  ],
  [
    ['x-stator-dp-rank', 'x-dynamo-dp-rank', 'x-dp-rank', 'x-data-parallel-rank'],
    '2',
    { nvext: { dp_rank: 1 } },
    ({ route }) => route?.constraints?.dataParallelRank,
    2,
    1,
  ],
  [
    ['x-stator-prefill-dp-rank', 'x-dynamo-prefill-dp-rank', 'x-prefill-dp-rank'],
    '2',
    { nvext: { prefill_dp_rank: 1 } },
    ({ route }) => route?.constraints?.dataParallelRank,
    2,
    1,
  ],
  [
    ['x-stator-request-priority', 'x-dynamo-request-priority'],
    '-7',
    { nvext: { agent_hints: { priority: 3 } } },
    ({ route, engine }) => [route?.priority, engine?.priority].join(),
    '-7,-7',
    '3,3',
  ],
  [
    ['x-stator-request-strict-priority', 'x-dynamo-request-strict-priority'],
    '6',
    { nvext: { agent_hints: { strict_priority: 3 } } },
    ({ route }) => route?.strictPriority,
    6,
    3,
  ],
  [
    ['x-stator-tenant-id', 'x-tenant-id'],
    'acme',
    { cache_salt: 'root', nvext: { cache_salt: 'body' } },
    ({ engine }) => engine?.cache?.cacheSalt,
    'acme',
    'body',
  ],
  [
    ['x-stator-session-id', 'x-dynamo-session-id'],
    's',
    { prompt_cache_key: 'body' },
    ({ route }) => route?.sessionId,
    's',
    'body',
  ],
  [
    ['x-stator-meta-policy-class', 'x-dynamo-meta-policy-class'],
    'batch',
    {},
    ({ route }) => route?.policyClass,
    'batch',
    '',
  ],
];

type Asked = Awaited<ReturnType<typeof asked>>;

describe('routing headers', () => {
  for (const [names, value, body, read, byHeader, byBody] of headerCases) {
    it(`${names[0]} and its other names win over the body`, async () => {
      expect(read(await asked(body))).to.equal(byBody);
      for (const name of names) expect(read(await asked(body, { [name]: value })), name).to.equal(byHeader);
      // The body counts where a header says nothing.
      for (const name of names) expect(read(await asked(body, { [name]: ' ' })), name).to.equal(byBody);
      // Earlier names come before later ones.
      const first = { [names[0] ?? '']: value, [names.at(-1) ?? '']: '1' };
      expect(read(await asked(body, first))).to.equal(byHeader);
    });
  }

  it('refuses a malformed worker, rank, session, tenant or timeout by the name it came under', async () => {
    const cases: readonly [string, string][] = [
      ['x-worker-instance-id', 'abc'],
      ['x-dynamo-worker-instance-id', '-1'],
      ['x-dynamo-worker-instance-id', '18446744073709551616'],
      ['x-stator-prefill-instance-id', '0x7'],
      ['x-dp-rank', 'first'],
      ['x-data-parallel-rank', '4294967296'],
      ['x-prefill-dp-rank', '-1'],
      ['x-dynamo-session-id', 's'.repeat(257)],
      ['x-tenant-id', 't'.repeat(513)],
      ['x-stator-timeout-ms', '0'],
      ['x-stator-timeout-ms', 'soon'],
    ];
    for (const [name, value] of cases) {
      const { status, error } = await asked({}, { [name]: value });
      expect(status, name).to.equal(400);
      expect(error, name).to.include({ code: 'invalid_argument', param: name });
      expect(error?.message).to.include(`\`${name}\``);
    }
  });

  it('takes the body where a priority is malformed', async () => {
    const nvext = { agent_hints: { priority: 3, strict_priority: 4 } };
    for (const value of ['high', '1.5', '99999999999']) {
      const headers = { 'x-dynamo-request-priority': value, 'x-dynamo-request-strict-priority': value };
      const route = await routed({ nvext }, headers);
      expect([route.priority, route.strictPriority], value).to.deep.equal([3, 4]);
    }
  });

  it('refuses pins that contradict each other across header and body', async () => {
    const { status, error } = await asked({ nvext: { prefill_worker_id: 9 } }, { 'x-worker-instance-id': '8' });
    expect(status).to.equal(400);
    expect(error).to.include({ code: 'unsupported', param: 'nvext.prefill_worker_id' });
  });

  it('takes the last tenant and the first of everything else, whatever the case of names', () => {
    const raw = ['X-Tenant-Id', 'first', 'x-tenant-id', 'second', 'X-DP-Rank', '1', 'x-dp-rank', '2'];
    expect(headerWishes(raw)).to.include({ tenantId: 'second', dataParallelRank: 1 });
    expect(headerWishes(['x-tenant-id', 'a', 'x-tenant-id', '']).tenantId).to.equal('a');
    expect(headerWishes(['x-tenant-id', 'forged, real, ']).tenantId).to.equal('real');
    const metadata = [
      'x-dynamo-meta-Key',
      'a',
      'X-Dynamo-Meta-key',
      'b',
      'x-stator-meta-own',
      'c',
      'x-dynamo-meta-own',
      'd',
    ];
    expect(headerWishes(metadata).metadata).to.deep.equal({ key: 'a', own: 'c' });
  });

  it('knows the parents of sessions, but none that is the session itself', () => {
    const session = (...raw: string[]) => headerWishes(raw).session;
    const none = { id: '', parentId: '', final: false };
    expect(session()).to.deep.equal(none);
    expect(session('x-dynamo-session-final', 'true')).to.deep.equal(none);
    expect(session('x-dynamo-session-id', 'a', 'x-dynamo-parent-session-id', 'a')).to.deep.equal({ ...none, id: 'a' });
    const named = ['x-stator-session-id', 'a', 'x-stator-parent-session-id', 'b', 'x-stator-session-final', 'TRUE'];
    expect(session(...named)).to.deep.equal({ id: 'a', parentId: 'b', final: true });
    const claude = ['x-claude-code-session-id', 's', 'x-claude-code-agent-id', 'c'];
    expect(session(...claude)).to.deep.equal({ ...none, id: 'c', parentId: 's' });
    const nested = [...claude, 'x-claude-code-parent-agent-id', 'p'];
    expect(session(...nested)).to.deep.equal({ ...none, id: 'c', parentId: 'p' });
    const codex = ['thread-id', 't', 'x-codex-parent-thread-id', 'u'];
    expect(session(...codex)).to.deep.equal({ ...none, id: 't', parentId: 'u' });
    const open = ['x-session-id', 't', 'x-parent-session-id', 'u'];
    expect(session(...open)).to.deep.equal({ ...none, id: 't', parentId: 'u' });
  });

  it('bounds metadata, and keeps credentials out of it', async () => {
    const many = (count: number, value = 'v'): Record<string, string> =>
      Object.fromEntries(Array.from({ length: count }, (_, index) => [`x-dynamo-meta-k${index}`, value]));
    expect((await asked({}, many(64))).status).to.equal(200);
    expect((await asked({}, { ...many(64), 'x-dynamo-meta-authorization': 'a' })).status).to.equal(200);
    expect((await asked({}, { ...many(64), 'x-stator-meta-token': 'Bearer a' })).status).to.equal(200);
    const { status, error } = await asked({}, many(65));
    expect(status).to.equal(431);
    expect(error?.code).to.equal('headers_too_large');
  });

  it('ends a request at the time that its client gives it', async () => {
    const router = new ScriptedRouter([{ instanceId: 1n }]);
    await using gateway = await startHarness({}, router);
    gateway.addWorker(1n, new ScriptedWorker());
    const headers = { 'content-type': 'application/json', 'x-stator-timeout-ms': '20' };
    const body = { model: 'test-model', messages: [{ role: 'user', content: 'Hi' }] };
    const response = await gateway.post('/v1/chat/completions', body, { headers });
    expect(response.status, await response.text()).to.equal(504);
    expect(router.finished).to.have.length(1);
  });
});
