import { readFileSync } from 'node:fs';
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

describe('engines’ event streams behind the REST interface', () => {
  const telemetry = quietTelemetry();
  const stops: (() => unknown)[] = [];
  let router: RouterService;

  async function start(more: Partial<SettingsOf<typeof routerSettings>> = {}): Promise<void> {
    const discovery = await openDiscovery('memory:', { namespace: 'streams', ttlSeconds: 5, telemetry });
    const config = defaultSettings(routerSettings, { replicaSync: false, engineStreamReplayMs: 500, ...more });
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

  async function until(condition: () => Promise<boolean>): Promise<void> {
    while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const becomes = (expected: unknown, fields?: object): Promise<void> =>
    until(async () => exactJson(await scores(fields)) === exactJson(expected));

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
    await becomes({ 7: { 0: held } });
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
            ...{ model: 'm', dp_rank: 0, block_size: blockSize, endpoint: publisher.endpoint },
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
});
