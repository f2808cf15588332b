import { expect } from 'chai';
import { asked, routed } from '../testing/asked.ts';
import { startHarness } from '../testing/harness.ts';
import { ScriptedRouter } from '../testing/scripted-router.ts';
import { ScriptedWorker } from '../testing/scripted-worker.ts';
import { headerWishes } from './translate/header-wishes.ts';

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

  it('refuses two headers that contradict each other by the names that were sent', async () => {
    for (const [first, second] of [
      ['x-stator-worker-instance-id', 'x-stator-prefill-instance-id'],
      ['x-dynamo-worker-instance-id', 'x-prefill-instance-id'],
      ['x-worker-instance-id', 'x-dynamo-prefill-instance-id'],
      ['x-stator-dp-rank', 'x-prefill-dp-rank'],
      ['x-data-parallel-rank', 'x-stator-prefill-dp-rank'],
      ['x-dp-rank', 'x-dynamo-prefill-dp-rank'],
    ] as const) {
      const { status, error } = await asked({}, { [first]: '2', [second]: '1' });
      expect(status).to.equal(400);
      expect(error).to.include({ code: 'unsupported', param: second });
      expect(error?.message).to.include(`\`${second}\` (1) differs from \`${first}\` (2)`);
    }
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
    const headers = { 'content-type': 'application/json', 'x-stator-timeout-ms': '500' };
    const body = { model: 'test-model', messages: [{ role: 'user', content: 'Hi' }] };
    const response = await gateway.post('/v1/chat/completions', body, { headers });
    expect(response.status, await response.text()).to.equal(504);
    expect(router.finished).to.have.length(1);
  });
});
