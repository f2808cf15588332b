import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { encode } from '@msgpack/msgpack';
import { expect } from 'chai';
import { defaultSettings, type SettingsOf } from '#lib/config/settings.ts';
import { openDiscovery } from '#lib/discovery/open.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { TestPublisher } from '#lib/zmq/testing/publisher.ts';
import { hashBlocks } from '#native/tokens/index.ts';
import { routerSettings } from '../config.ts';
import { type RouterService, startRouter } from '../service.ts';
import { exactJson, parseExactJson } from './exact-json.ts';

interface Answer {
  readonly status: number;
  readonly body: Record<string, unknown>;
}

interface Recorded {
  readonly blockSize: number;
  readonly steps: readonly { readonly prompts?: readonly number[][] }[];
  readonly messages: readonly string[];
}

const file = new URL('../../../tests/fixtures/kv-events/vllm.json', import.meta.url);
const recorded: Recorded = JSON.parse(readFileSync(file, 'utf8'));
const { blockSize } = recorded;
const messages = recorded.messages.map((hex) => Buffer.from(hex, 'hex'));
/** The prompt that the engine still has at the end. */
const prompt = recorded.steps.flatMap(({ prompts = [] }) => prompts).at(-1) ?? [];
const held = Math.floor(prompt.length / blockSize) * blockSize;

let clock = 1e12;
/** What a small engine says when it has computed a prompt. */
function computed(tokens: number[], size = blockSize): Uint8Array {
  const ids = Array.from({ length: Math.floor(tokens.length / size) }, (_, i) => (tokens[0] ?? 0) * 1000 + i);
  const used = tokens.slice(0, ids.length * size);
  return encode([++clock + 0.5, [['BlockStored', ids, null, used, size, null]], null], { useBigInt64: true });
}
const tokens = (first: number, count: number): number[] => Array.from({ length: count }, (_, i) => first + i);

describe('engines’ event streams behind the REST interface', () => {
  const telemetry = quietTelemetry();
  const stops: (() => unknown)[] = [];
  let router: RouterService;

  async function start(more: Partial<SettingsOf<typeof routerSettings>> = {}): Promise<void> {
    const discovery = await openDiscovery('memory:', { namespace: 'streams', ttlSeconds: 5, telemetry });
    const config = defaultSettings(routerSettings, { replicaSync: false, engineStreamReplayMs: 15_000, ...more });
    const shutdown = new AbortController();
    router = await startRouter(config, {
      telemetry: quietTelemetry(),
      discovery,
      shutdown: shutdown.signal,
      instanceId: 99n,
    });
    const started = router;
    stops.push(
      () => discovery.close(),
      () => started.stop(),
    );
  }

  afterEach(async () => {
    for (const stop of stops.splice(0).reverse()) await stop();
  });

  async function call(method: string, path: string, body?: unknown): Promise<Answer> {
    const response = await fetch(`http://${router.address}${path}`, {
      method,
      ...(body === undefined ? {} : { body: exactJson(body) }),
    });
    return { status: response.status, body: parseExactJson(await response.text()) as Record<string, unknown> };
  }

  async function open(like?: Pick<TestPublisher, 'endpoint' | 'replayEndpoint'>): Promise<TestPublisher> {
    const publisher = await TestPublisher.open({ like });
    stops.push(() => publisher.close());
    return publisher;
  }

  const registration = (publisher: Pick<TestPublisher, 'endpoint' | 'replayEndpoint'>, more: object = {}) => ({
    ...{ instance_id: 7, model_name: 'm', block_size: blockSize, endpoint: publisher.endpoint },
    ...{ replay_endpoint: publisher.replayEndpoint, ...more },
  });

  /** Matched tokens by worker and rank. */
  async function scores(fields: object = { token_ids: prompt }, path = '/query'): Promise<unknown> {
    const { body } = await call('POST', path, { model_name: 'm', ...fields });
    return body['scores'] ?? body['error'];
  }

  /** Says the engine's last message again until the answer is as expected: it may have been said before anybody listened. */
  async function becomes(publisher: TestPublisher, expected: unknown, fields?: object): Promise<void> {
    for (; exactJson(await scores(fields)) !== exactJson(expected); await delay(5))
      await publisher.repeat(publisher.published - 1);
  }

  async function metric(name: string): Promise<number> {
    const text = await (await fetch(`http://${router.address}/metrics`)).text();
    const lines = text
      .split('\n')
      .filter((line) => line.startsWith(`stator_router_${name} `) || line.startsWith(`stator_router_${name}{`));
    return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
  }

  it('finds the prompt that a recorded vLLM has cached, and forgets it with the registration', async () => {
    await start();
    const publisher = await open();
    for (const message of messages.slice(0, -1)) await publisher.publish(message);
    expect(await call('POST', '/register', registration(publisher))).to.deep.equal({
      status: 201,
      body: { status: 'ok' },
    });
    expect((await call('POST', '/register', registration(publisher))).status).to.equal(200);
    await publisher.publish(messages.at(-1) ?? Buffer.alloc(0));
    await becomes(publisher, { 7: { 0: held } });
    const { sequenceHashes, localHashes } = hashBlocks(Uint32Array.from(prompt), blockSize, {
      adapter: '',
      cacheSalt: '',
    });
    const found = { 7: { 0: held } };
    expect(await scores({ sequence_hashes: [...sequenceHashes] }, '/query_by_hash')).to.deep.equal(found);
    const signed = [...localHashes].map((hash) => BigInt.asIntN(64, hash));
    expect(await scores({ block_hashes: signed }, '/query_by_hash')).to.deep.equal(found);
    expect(await scores({ block_hashes: signed, cache_salt: 's' }, '/query_by_hash')).to.include({
      field: 'cache_salt',
    });
    const dump = (await call('GET', '/dump?model_name=m')).body['events'] as { sequence_hashes: unknown[] }[];
    expect(dump.flatMap(({ sequence_hashes: hashes }) => hashes)).to.have.length(held / blockSize);
    expect(await metric('engine_streams')).to.equal(1);
    expect(await metric('engine_event_applied_total')).to.be.greaterThan(0);
    expect(await metric('kv_events_applied_total')).to.be.greaterThan(0);
    expect(await metric('engine_event_dropped_total')).to.equal(0);

    const listed = (await call('GET', '/workers')).body['workers'] as Record<string, unknown>[];
    expect(listed).to.deep.equal([
      {
        ...{ worker_id: 7, endpoint: '', registered: 'stream', models: [] },
        kv_events: [
          {
            ...{ model: 'm', dp_rank: 0, block_size: blockSize, endpoint: publisher.endpoint, connected: true },
            replay_endpoint: publisher.replayEndpoint,
          },
        ],
      },
    ]);
    const unregistration = { instance_id: 7, model_name: 'm' };
    expect((await call('POST', '/unregister', unregistration)).body).to.deep.equal({ status: 'ok' });
    expect((await call('POST', '/unregister', unregistration)).status).to.equal(404);
    expect(await scores()).to.include({ code: 'model_not_found' });
    expect((await call('GET', '/dump')).body['events']).to.deep.equal([]);
    expect(await metric('engine_streams')).to.equal(0);
  });

  it('asks an engine for what was lost, and begins anew with it', async () => {
    await start();
    const first = await open();
    await call('POST', '/register', registration(first));
    for (const [i, message] of messages.entries())
      await first.publish(message, { onWire: i % 3 === 0 || i === messages.length - 1 });
    await becomes(first, { 7: { 0: held } });
    expect(await metric('engine_event_stream_total{outcome="lost"}')).to.equal(0);
    first.close();
    const second = await open(first);
    await second.publish(computed(tokens(1, 2 * blockSize)));
    await becomes(second, { 7: { 0: 2 * blockSize } }, { token_ids: tokens(1, 3 * blockSize) });
    expect(await scores()).to.deep.equal({});
    expect(await metric('engine_event_stream_total{outcome="restarted"}')).to.equal(1);
  });

  it('keeps ranks, models and groups apart', async () => {
    await start();
    const [one, two] = [await open(), await open()];
    await one.publish(computed(tokens(1, blockSize)));
    await two.publish(computed(tokens(1, 2 * blockSize)));
    const { endpoint } = one;
    await call('POST', '/register', {
      instance_id: 7,
      model_name: 'm',
      block_size: blockSize,
      endpoint,
      replay_endpoint: one.replayEndpoint,
      tenant_id: 'default',
      additional_salt: null,
    });
    await call('POST', '/register', registration(two, { dp_rank: 1 }));
    await call('POST', '/register', registration(two, { instance_id: '18446744073709551615', routing_group: 'b' }));
    const asked = { token_ids: tokens(1, 4 * blockSize) };
    await becomes(two, { 7: { 0: blockSize, 1: 2 * blockSize } }, asked);
    await becomes(two, { '18446744073709551615': { 0: 2 * blockSize } }, { ...asked, routing_group: 'b' });
    const { body } = await call('POST', '/query', { model_name: 'm', ...asked });
    expect(body['instances']).to.deep.equal({
      7: {
        ...{ longest_matched: 2 * blockSize, gpu: 2 * blockSize, cpu: 2 * blockSize, disk: 2 * blockSize },
        dp: { 0: blockSize, 1: 2 * blockSize },
      },
    });
    expect(await scores({ ...asked, cache_salt: 'other' })).to.deep.equal({});
    expect(await scores({ ...asked, lora_name: 'poet' })).to.deep.equal({});
    expect((await call('POST', '/unregister', { instance_id: 7, model_name: 'm', dp_rank: 1 })).status).to.equal(200);
    expect(await scores(asked)).to.deep.equal({ 7: { 0: blockSize } });
    const dumped = (await call('GET', '/dump')).body['events'] as { model: string }[];
    expect(new Set(dumped.map(({ model }) => model))).to.deep.equal(new Set(['m', 'b/m']));
    const ofGroup = (await call('GET', '/dump?model_name=m&routing_group=b')).body['events'] as { model: string }[];
    expect(new Set(ofGroup.map(({ model }) => model))).to.deep.equal(new Set(['b/m']));
  });

  it('says precisely what is wrong with a registration', async () => {
    await start({ maxEngineStreams: 1, engineStreamTransports: 'tcp' });
    const publisher = await open();
    const right = registration(publisher);
    const refusals: [body: object, status: number, field: string][] = [
      [{ ...right, instance_id: 0 }, 400, 'instance_id'],
      [{ ...right, endpoint: undefined }, 400, 'endpoint'],
      [{ ...right, endpoint: '127.0.0.1:5557' }, 400, 'endpoint'],
      [{ ...right, endpoint: 'tcp://*:5557' }, 400, 'endpoint'],
      [{ ...right, endpoint: 'http://169.254.169.254/' }, 400, 'endpoint'],
      [{ ...right, endpoint: 'ipc:///var/run/docker.sock' }, 400, 'endpoint'],
      [{ ...right, replay_endpoint: 'tcp://a' }, 400, 'replay_endpoint'],
      [{ ...right, block_size: 0 }, 400, 'block_size'],
      [{ ...right, dp_rank: -1 }, 400, 'dp_rank'],
      [{ ...right, port: 5 }, 400, 'port'],
    ];
    for (const [body, status, field] of refusals) {
      const answer = await call('POST', '/register', body);
      expect(answer.status, exactJson(body)).to.equal(status);
      expect(answer.body['error'], exactJson(body)).to.include({ field });
    }
    expect((await call('POST', '/register', right)).status).to.equal(201);
    const other = await call('POST', '/register', { ...right, replay_endpoint: '' });
    expect([other.status, (other.body['error'] as { field: string }).field]).to.deep.equal([409, 'endpoint']);
    const larger = await call('POST', '/register', { ...right, instance_id: 8, block_size: blockSize * 2 });
    expect(larger.body['error']).to.include({ code: 'invalid_argument', field: 'block_size' });
    expect((await call('POST', '/register', { ...right, instance_id: 8 })).status).to.equal(529);
    const unknown = await call('POST', '/unregister', { instance_id: 8, model_name: 'm' });
    expect(unknown.body['error']).to.include({ code: 'not_found', field: 'instance_id' });
  });

  describe('of registered workers', () => {
    const worker = (publisher: Pick<TestPublisher, 'endpoint' | 'replayEndpoint'>, more: object = {}) => ({
      ...{ worker_id: 7, model_name: 'm', block_size: blockSize, replay_endpoint: publisher.replayEndpoint },
      ...{ kv_events_endpoints: { 0: publisher.endpoint }, ...more },
    });
    const asked = { token_ids: tokens(1, 2 * blockSize) };
    const found = { 7: { 0: 2 * blockSize } };

    it('are followed, go on through changes that do not concern them, and end with the worker', async () => {
      await start();
      const publisher = await open();
      await publisher.publish(computed(tokens(1, 2 * blockSize)));
      expect((await call('POST', '/workers', worker(publisher))).status).to.equal(201);
      await becomes(publisher, found, asked);
      const selected = await call('POST', '/select', { model_name: 'm', ...asked });
      expect(selected.body['overlap']).to.include({ gpu: 2 * blockSize });
      await call('PATCH', '/workers/7', { taints: ['zone=a'] });
      expect(await scores(asked)).to.deep.equal(found);
      const listed = (await call('GET', '/workers')).body['workers'] as { kv_events: object[] }[];
      expect(listed[0]?.kv_events[0]).to.include({ model: 'm', dp_rank: 0, endpoint: publisher.endpoint });
      await call('PATCH', '/workers/7', { kv_events_endpoints: {} });
      expect(await scores(asked)).to.deep.equal({});
      await call('PATCH', '/workers/7', worker(publisher));
      await becomes(publisher, found, asked);
      await call('PATCH', '/workers/7', { model_name: 'other' });
      await becomes(publisher, found, { ...asked, model_name: 'other' });
      expect(await metric('engine_streams')).to.equal(1);
      await call('DELETE', '/workers/7');
      expect(await metric('engine_streams')).to.equal(0);
      expect((await call('GET', '/dump')).body['events']).to.deep.equal([]);
    });

    it('leave everything as it was where they are refused', async () => {
      await start({ maxEngineStreams: 1 });
      const publisher = await open();
      const { endpoint } = publisher;
      const refusals: [body: object, status: number, field: string | undefined][] = [
        [{ kv_events_endpoints: { 1: endpoint } }, 400, 'kv_events_endpoints.1'],
        [{ kv_events_endpoints: { 0: 'tcp://' } }, 400, 'kv_events_endpoints.0'],
        [{ replay_endpoint: 'a' }, 400, 'replay_endpoint'],
        [{ data_parallel_size: 2, kv_events_endpoints: { 0: endpoint, 1: 'tcp://127.0.0.1:1' } }, 529, undefined],
        [
          { data_parallel_size: 2, kv_events_endpoints: { 0: 'tcp://127.0.0.1:1', 1: 'tcp://127.0.0.1:2' } },
          ...([529, undefined] as const),
        ],
      ];
      const workers = async () => (await call('GET', '/workers')).body['workers'];
      const refuse = async (method: string, path: string): Promise<void> => {
        for (const [more, status, field] of refusals) {
          const body = method === 'POST' ? worker(publisher, more) : more;
          const answer = await call(method, path, body);
          expect(answer.status, exactJson(more)).to.equal(status);
          if (field !== undefined) expect(answer.body['error']).to.include({ field });
        }
      };
      await refuse('POST', '/workers');
      expect(await workers()).to.deep.equal([]);
      expect(await metric('engine_streams')).to.equal(0);
      await publisher.publish(computed(tokens(1, 2 * blockSize)));
      await call('POST', '/workers', worker(publisher));
      await becomes(publisher, found, asked);
      const isConnected = async () => exactJson(await workers()).includes('"connected":true');
      while (!(await isConnected())) await delay(5);
      const before = await workers();
      await refuse('PATCH', '/workers/7');
      while (!(await isConnected())) await delay(5);
      expect(await workers()).to.deep.equal(before);
      await becomes(publisher, found, asked);
    });

    it('take the replay endpoint of each rank at its own port', async () => {
      await start();
      const publisher = await open();
      const port = Number(publisher.replayEndpoint.split(':').at(-1));
      const replay = `tcp://127.0.0.1:${port - 1}`;
      await publisher.publish(computed(tokens(1, 2 * blockSize)));
      const ranks = { data_parallel_start_rank: 2, data_parallel_size: 2 };
      const endpoints = { kv_events_endpoints: { 3: publisher.endpoint }, replay_endpoint: replay };
      await call('POST', '/workers', worker(publisher, { ...ranks, ...endpoints }));
      await becomes(publisher, { 7: { 3: 2 * blockSize } }, asked);
      const unclear = { ...ranks, kv_events_endpoints: { 3: publisher.endpoint }, replay_endpoint: 'ipc:///a' };
      const answer = await call('PATCH', '/workers/7', unclear);
      expect(answer.body['error']).to.include({ field: 'replay_endpoint' });
    });

    it('are named when they never match', async () => {
      await start({ neverMatchedEvents: 2, neverMatchedRequests: 2, kvEventPulseMs: 5 });
      const publisher = await open();
      for (const first of [1000, 2000]) await publisher.publish(computed(tokens(first, blockSize)));
      await call('POST', '/workers', worker(publisher));
      await becomes(publisher, { 7: { 0: blockSize } }, { token_ids: tokens(1000, blockSize) });
      const book = { model_name: 'm', token_ids: tokens(5, blockSize + 1) };
      for (let i = 0; i < 3; i++) await call('POST', '/select_and_reserve', book);
      while ((await metric('kv_never_matched_workers')) === 0) await delay(5);
      await call('DELETE', '/workers/7');
      while ((await metric('kv_never_matched_workers')) > 0) await delay(5);
    });
  });
});
