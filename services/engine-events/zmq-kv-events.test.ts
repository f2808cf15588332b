import { readFileSync } from 'node:fs';
import { encode } from '@msgpack/msgpack';
import { expect } from 'chai';
import { pino } from 'pino';
import type { KvChange } from '#core/kv-events/event-converter.ts';
import { unpackHashes } from '#core/tokens/packed-hashes.ts';
import { Tier } from '#gen/stator/events/v1/events_pb.ts';
import { MetricsRegistry } from '#lib/telemetry/registry.ts';
import { TestPublisher } from '#lib/zmq/testing/publisher.ts';
import { EngineKvEvents, rankEndpoints } from './zmq-kv-events.ts';

const file = new URL('../../tests/fixtures/kv-events/batches.json', import.meta.url);
const fixtures: { name: string; hex: string }[] = JSON.parse(readFileSync(file, 'utf8'));
const fixture = (name: string): Uint8Array => Buffer.from(fixtures.find((f) => f.name === name)?.hex ?? '', 'hex');

/** Sequence hashes of the tokens 1 to 12 in blocks of four. */
const sequence = [14643705804678351452n, 4945711292740353085n, 12583592247330656132n];

let clock = 1;
/** A batch as SGLang writes it. */
function batch(events: unknown[], rank: number | null = null): Uint8Array {
  return encode([++clock + 0.5, events, rank], { useBigInt64: true });
}
const stored = (ids: number[], parent: number | null, tokens: number[], blockSize = 4): unknown[] => [
  'BlockStored',
  ids,
  parent,
  tokens,
  blockSize,
  null,
];

function read({ change, dataParallelRank: rank }: KvChange): unknown {
  if (change.case !== 'stored' && change.case !== 'removed') return { rank, [change.case ?? '']: true };
  return { rank, [change.case]: [...unpackHashes(change.value.sequenceHashes)], tier: change.value.tier };
}

describe('KV events of an engine over ZeroMQ', () => {
  const publishers: TestPublisher[] = [];
  let running: EngineKvEvents | undefined;
  let changes: unknown[] = [];
  let logged: Record<string, unknown>[] = [];
  let failures: Error[] = [];
  let metrics = new MetricsRegistry();

  beforeEach(() => {
    changes = [];
    logged = [];
    failures = [];
    metrics = new MetricsRegistry();
  });

  afterEach(async () => {
    await running?.stop();
    for (const publisher of publishers.splice(0)) publisher.close();
  });

  async function open(like?: { endpoint: string; replayEndpoint: string }): Promise<TestPublisher> {
    const publisher = await TestPublisher.open({ like });
    publishers.push(publisher);
    return publisher;
  }

  interface Followed {
    readonly endpoint: string;
    readonly replayEndpoint?: string;
    readonly ranks?: number;
    readonly bind?: boolean;
  }

  function follow({ bind = false, ranks = 1, ...o }: Followed): EngineKvEvents {
    const events = new EngineKvEvents(
      {
        model: 'm',
        ranks: rankEndpoints({ ...o, firstRank: 0, ranks }),
        bind,
        topic: '',
        blockSize: 4,
        maxBlocks: 1000,
        placeholders: { image: null, video: null },
        maxWaiting: 1000,
        replayTimeoutMs: 15_000,
      },
      {
        log: pino({ level: 'debug' }, { write: (line: string) => void logged.push(JSON.parse(line)) }),
        metrics,
        prefix: 'stator_worker_kv_event',
        labels: { model: 'm' },
        onChanges: (list) => void changes.push(...list.map(read)),
        onFailure: (error) => void failures.push(error),
      },
    );
    events.start();
    running = events;
    return events;
  }

  const followAll = (publisher: TestPublisher, o: Pick<Followed, 'ranks'> = {}): EngineKvEvents =>
    follow({ endpoint: publisher.endpoint, replayEndpoint: publisher.replayEndpoint, ...o });

  async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
    while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 5));
  }

  async function metric(name: string, labels: Record<string, string> = {}): Promise<number> {
    const { values } = (await metrics.getSingleMetric(`stator_worker_kv_event_${name}`)?.get()) ?? { values: [] };
    const wanted = values.filter((v) => Object.entries(labels).every(([key, value]) => v.labels[key] === value));
    return wanted.reduce((sum, { value }) => sum + value, 0);
  }

  for (const form of ['array of integers', 'array of bytes', 'map of integers', 'map of bytes', 'maps in an array'])
    it(`turns what vLLM publishes into changes: ${form}`, async () => {
      const publisher = await open();
      for (const name of ['stored', 'hybrid', 'removed', 'cleared'])
        await publisher.publish(fixture(`${form}: ${name}`));
      followAll(publisher);
      await until(() => changes.some((change) => typeof change === 'object' && change !== null && 'cleared' in change));
      expect(changes).to.deep.equal([
        { rank: 0, stored: sequence, tier: Tier.DEVICE },
        // The hybrid batch stores the first block again: its first removal is not its last.
        { rank: 0, removed: [sequence[1]], tier: Tier.DEVICE },
        { rank: 0, cleared: true },
      ]);
      expect(await metric('applied_total', { type: 'stored' })).to.equal(4);
      expect(await metric('applied_total', { type: 'removed' })).to.equal(2);
      expect(await metric('unmatched_total')).to.equal(1);
      expect(await metric('dropped_total', { reason: 'other_attention' })).to.equal(2);
      expect(await metric('batches_total', { source: 'replayed' })).to.equal(4);
      expect(await metric('blocks')).to.equal(0);
      expect(await metric('mismatch')).to.equal(0);
    });

  it('says aloud when blocks never fit, and once why', async () => {
    const publisher = await open();
    for (let i = 0; i < 40; i++) await publisher.publish(batch([stored([i + 1], null, [1, 2, 3, 4, 5, 6, 7, 8], 8)]));
    followAll(publisher);
    await until(async () => (await metric('dropped_total', { reason: 'wrong_block_size' })) === 40);
    const warnings = logged.filter((line) => line['level'] === 40);
    expect(warnings).to.have.length(2);
    expect(warnings[0]).to.include({
      reason: 'wrong_block_size',
      detail: "the engine's blocks have 8 tokens, the worker's 4",
    });
    expect(warnings[1]?.['msg']).to.contain('none fits');
    expect(warnings[1]?.['reasons']).to.deep.equal({ wrong_block_size: 15 });
    expect(await metric('mismatch')).to.equal(1);
    await publisher.publish(batch([stored([100], null, [1, 2, 3, 4])]));
    await until(async () => (await metric('mismatch')) === 0);
    expect(await metric('blocks')).to.equal(1);
    await running?.stop();
    expect(await metric('blocks')).to.equal(0);
  });

  it('goes on through garbage', async () => {
    const publisher = await open();
    await publisher.publish(Buffer.from('no MessagePack'));
    await publisher.publish(batch(['not an event', ['Unknown', 1], stored([1], null, [1, 2, 3, 4])]));
    await publisher.publish(Buffer.alloc(0));
    await publisher.publish(batch([stored([2], 1, [5, 6, 7, 8])]));
    followAll(publisher);
    await until(() => changes.length === 2);
    expect(await metric('stream_total', { outcome: 'garbled' })).to.equal(2);
    expect(await metric('dropped_total', { reason: 'malformed' })).to.equal(4);
    expect(failures).to.deep.equal([]);
  });

  it('clears and fills again when the engine begins anew, and its snapshot is what is left', async () => {
    const first = await open();
    await first.publish(batch([stored([1, 2], null, [1, 2, 3, 4, 5, 6, 7, 8])]));
    const events = followAll(first);
    await until(() => changes.length === 1);
    first.close();
    const second = await open({ endpoint: first.endpoint, replayEndpoint: first.replayEndpoint });
    await second.publish(batch([stored([7], null, [1, 2, 3, 4])]));
    await until(() => changes.length === 3);
    expect(changes.slice(1)).to.deep.equal([
      { rank: 0, cleared: true },
      { rank: 0, stored: sequence.slice(0, 1), tier: Tier.DEVICE },
    ]);
    expect(events.snapshot().map(read)).to.deep.equal(changes.slice(2));
    expect(await metric('stream_total', { outcome: 'restarted' })).to.equal(1);
  });

  it('takes lost messages from the engine’s memory, without which children would have no parent', async () => {
    const publisher = await open();
    await publisher.publish(batch([stored([1], null, [1, 2, 3, 4])]));
    followAll(publisher);
    await until(() => changes.length === 1);
    await publisher.publish(batch([stored([2], 1, [5, 6, 7, 8])]), { onWire: false });
    await publisher.publish(batch([stored([3], 2, [9, 10, 11, 12])]));
    await until(() => changes.length === 3);
    expect(await metric('unmatched_total')).to.equal(0);
    expect(await metric('stream_total', { outcome: 'missing' })).to.equal(1);
    expect(await metric('stream_total', { outcome: 'lost' })).to.equal(0);
  });

  it('follows each data parallel rank at its own port', async () => {
    const [zero, one] = await neighbours();
    await zero.publish(batch([stored([1], null, [1, 2, 3, 4])]));
    await one.publish(batch([stored([1], null, [1, 2, 3, 4])], 1));
    await one.publish(batch([stored([2], 1, [5, 6, 7, 8])], 7));
    followAll(zero, { ranks: 2 });
    await until(async () => changes.length === 2 && (await metric('dropped_total', { reason: 'unknown_rank' })) === 1);
    expect(
      new Set(changes.map((change) => JSON.stringify(change, (_, v) => (typeof v === 'bigint' ? `${v}` : v)))).size,
    ).to.equal(2);
    expect(changes).to.deep.include({ rank: 1, stored: sequence.slice(0, 1), tier: Tier.DEVICE });
  });

  it('reports an endpoint that cannot be opened, and refuses what is none', async () => {
    const publisher = await open();
    follow({ endpoint: publisher.endpoint, bind: true });
    await until(() => failures.length === 1);
    expect(failures[0]?.message).to.contain(publisher.endpoint);
    expect(() => follow({ endpoint: 'localhost:5557' })).to.throw('is not tcp://HOST:PORT');
  });

  /** Publishers whose sockets are at neighbouring ports. */
  async function neighbours(): Promise<[TestPublisher, TestPublisher]> {
    for (;;) {
      const zero = await open();
      const next = (endpoint: string): string => endpoint.replace(/\d+$/, (port) => String(Number(port) + 1));
      const like = { endpoint: next(zero.endpoint), replayEndpoint: next(zero.replayEndpoint) };
      const one = await open(like).catch(() => null);
      if (one !== null) return [zero, one];
      zero.close();
    }
  }
});
