import { setTimeout as delay } from 'node:timers/promises';
import { encode } from '@msgpack/msgpack';
import { expect } from 'chai';
import { pino } from 'pino';
import { ReferenceKvIndex } from '#core/kv-index/reference-index.ts';
import { Random } from '#core/kv-index/testing/random.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { until } from '#lib/rpc/testing/wait.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { TestPublisher } from '#lib/zmq/testing/publisher.ts';
import { hashBlocks } from '#native/tokens/index.ts';
import { EngineStreams } from './engine-streams.ts';
import { Harness } from './harness.test-support.ts';

const settings = {
  maxEngineStreams: 3,
  engineStreamTransports: 'tcp+ipc' as const,
  engineStreamBlocks: 100_000,
  engineStreamMessages: 1000,
  engineStreamReplayMs: 15_000,
  kvEventSourceSeconds: 0.05,
};
const fields = { worker: 'worker', endpoint: 'endpoint', replayEndpoint: 'replay', blockSize: 'size' };
const blockSize = 4;

let clock = 0;
function batch(events: unknown[]): Uint8Array {
  return encode([++clock + 0.5, events, null], { useBigInt64: true });
}
/** One block of its own: what the engine calls it is its first token too. */
const tokensOf = (id: number): number[] => [id, 1, 2, 3];
const stored = (id: number): unknown[] => ['BlockStored', [id], null, tokensOf(id), blockSize, null];
const removed = (id: number): unknown[] => ['BlockRemoved', [id]];
const hashOf = (id: number): bigint =>
  hashBlocks(Uint32Array.from(tokensOf(id)), blockSize, { adapter: '', cacheSalt: '' }).sequenceHashes[0] ?? 0n;

describe('engines’ own event streams', () => {
  const publishers: TestPublisher[] = [];
  let harness: Harness;
  let streams: EngineStreams;
  let telemetry: ReturnType<typeof quietTelemetry>;
  let logged: Record<string, unknown>[] = [];

  beforeEach(() => {
    logged = [];
    const write = (line: string): void => void logged.push(JSON.parse(line));
    telemetry = { ...quietTelemetry(), log: pino({ level: 'warn' }, { write }) };
    harness = new Harness(new ReferenceKvIndex({ maxBlocks: 100_000, maxSlots: 16 }));
    const { following, index } = harness;
    streams = new EngineStreams({
      ...{ index, slots: following.slots, settings, telemetry },
      blockSizeOf: (model) => (model === 'known' ? 16 : streams.blockSizeOf(model)),
      onStored: (source, events, blocks) => following.onStored(source, events, blocks),
      pace: (blocks) => following.pace(blocks),
      onClosed: (source) => following.onClosed(source),
    });
  });

  afterEach(async () => {
    await streams.close();
    harness.following.close();
    for (const publisher of publishers.splice(0)) publisher.close();
  });

  async function open(like?: Pick<TestPublisher, 'endpoint' | 'replayEndpoint'>): Promise<TestPublisher> {
    const publisher = await TestPublisher.open({ like });
    publishers.push(publisher);
    return publisher;
  }

  const sourceOf = (dataParallelRank = 0, model = 'm', size = blockSize) => ({
    ...{ instanceId: 7n, dataParallelRank, model, blockSize: size },
  });
  const follow = ({ endpoint, replayEndpoint }: Pick<TestPublisher, 'endpoint' | 'replayEndpoint'>, rank = 0) =>
    streams.follow({ source: sourceOf(rank), endpoint, replayEndpoint }, fields);
  const held = (rank = 0): Set<bigint> | undefined => harness.blocks(7n, rank, 'm');
  const has = (ids: Iterable<number>, rank = 0): boolean => {
    const wanted = new Set([...ids].map(hashOf));
    const blocks = held(rank);
    return blocks !== undefined && blocks.size === wanted.size && [...wanted].every((hash) => blocks.has(hash));
  };
  const holds = (ids: readonly number[], rank = 0): Promise<void> =>
    until(() => has(ids, rank), `rank ${rank} has the blocks ${ids}`);

  /** Says the last message again until the condition holds: it may have been said before anybody listened. */
  async function heard(publisher: TestPublisher, last: number, condition: () => boolean): Promise<void> {
    for (; !condition(); await delay(5)) await publisher.repeat(last);
  }

  function refusalOf(run: () => unknown): string {
    try {
      run();
      return 'none';
    } catch (thrown) {
      const { code, field } = StatorError.from(thrown);
      return `${code} ${field ?? ''}`.trim();
    }
  }

  async function metric(name: string): Promise<number> {
    const text = await telemetry.metrics.metrics();
    const lines = text.split('\n').filter((line) => line.startsWith(`stator_router_${name}`) && !line.startsWith('#'));
    return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
  }

  it('end in step with their engines, whatever is lost on the way and however often an engine begins anew', async () => {
    const random = new Random(11);
    let publisher = await open();
    follow(publisher);
    for (let life = 0; life < 3; life++) {
      const blocks = new Set<number>();
      for (let message = 0; message < 60; message++) {
        const id = 1 + random.below(40);
        const event = blocks.has(id) ? removed(id) : stored(id);
        if (!blocks.delete(id)) blocks.add(id);
        await publisher.publish(batch([event]), { onWire: random.chance(0.7) });
      }
      await heard(publisher, 59, () => has(blocks));
      publisher.close();
      if (life < 2) publisher = await open(publisher);
    }
    expect(await metric('engine_event_stream_total{outcome="lost"}')).to.equal(0);
    expect(await metric('engine_event_stream_total{outcome="restarted"}')).to.equal(2);
    expect(await metric('kv_events_unmatched_total')).to.equal(0);
  });

  it('are followed once, and are forgotten one by one or by worker', async () => {
    const [one, two] = [await open(), await open()];
    await one.publish(batch([stored(1)]));
    await two.publish(batch([stored(2)]));
    expect(follow(one)).to.equal(true);
    expect(follow(one)).to.equal(false);
    expect(follow(two, 1)).to.equal(true);
    await holds([1]);
    await holds([2], 1);
    expect(await metric('engine_streams')).to.equal(2);
    expect(await metric('engine_event_blocks')).to.equal(2);
    expect(streams.unfollow('m', 7n, 0)).to.equal(1);
    expect(streams.unfollow('m', 7n, 0)).to.equal(0);
    expect([held(0), held(1)?.size]).to.deep.equal([undefined, 1]);
    streams.unfollowWorker(7n);
    expect([held(1), streams.all()]).to.deep.equal([undefined, []]);
    await streams.close();
    expect(await metric('engine_streams')).to.equal(0);
    expect(await metric('engine_event_blocks')).to.equal(0);
    expect(refusalOf(() => follow(one))).to.equal('draining');
  });

  it('are refused where they contradict what is known, and beyond their number', async () => {
    const publisher = await open();
    const { endpoint, replayEndpoint } = publisher;
    follow(publisher);
    expect(refusalOf(() => follow({ endpoint: 'tcp://127.0.0.1:1', replayEndpoint }))).to.equal('conflict endpoint');
    expect(refusalOf(() => follow({ endpoint, replayEndpoint: '' }))).to.equal('conflict endpoint');
    expect(refusalOf(() => follow({ endpoint: 'http://a', replayEndpoint }, 1))).to.equal('invalid_argument endpoint');
    expect(refusalOf(() => follow({ endpoint, replayEndpoint: 'b' }, 1))).to.equal('invalid_argument replay');
    const other = (source: ReturnType<typeof sourceOf>) =>
      refusalOf(() => streams.follow({ source, endpoint, replayEndpoint }, fields));
    expect(other(sourceOf(1, 'm', 8))).to.equal('invalid_argument size');
    expect(other(sourceOf(0, 'known'))).to.equal('invalid_argument size');
    expect(other(sourceOf(0, 'known', 16))).to.equal('none');
    const { slots } = harness.following;
    slots.publish(sourceOf(5), slots.allocate());
    expect(refusalOf(() => follow(publisher, 5))).to.equal('conflict worker');
    expect(refusalOf(() => follow(publisher, 1))).to.equal('none');
    expect(refusalOf(() => follow(publisher, 2))).to.equal('overloaded');
  });

  it('give way to a worker that tells its events itself', async () => {
    const publisher = await open();
    follow(publisher);
    await publisher.publish(batch([stored(1)]));
    await holds([1]);
    const { slots } = harness.following;
    slots.publish(sourceOf(), slots.allocate());
    await publisher.publish(batch([stored(2)]));
    await heard(publisher, 1, () => streams.all().length === 0);
    expect(held()?.size).to.equal(0);
    expect(await metric('engine_stream_failures_total')).to.equal(0);
  });

  it('are refused when the index has no slot left', async () => {
    const { slots } = harness.following;
    for (let i = 0; i < 16; i++) slots.allocate();
    const publisher = await open();
    expect(refusalOf(() => follow(publisher))).to.equal('overloaded');
    expect(await metric('engine_streams')).to.equal(0);
  });

  it('tell whether their engine is connected, and say aloud when nobody is there', async () => {
    const publisher = await open();
    const { endpoint, replayEndpoint } = publisher;
    publisher.close();
    follow({ endpoint, replayEndpoint });
    await until(() => logged.length > 0, 'a warning');
    expect(logged[0]).to.include({ level: 40, worker: '7', model: 'm', rank: 0, endpoint });
    expect(streams.all()).to.deep.equal([{ source: sourceOf(), endpoint, replayEndpoint, connected: false }]);
    const again = await open(publisher);
    await until(() => streams.all()[0]?.connected === true, 'it is connected');
    expect(await metric('engine_event_connected')).to.equal(1);
    again.close();
    await until(() => streams.all()[0]?.connected === false, 'it is not connected any more');
    expect(await metric('engine_event_connected')).to.equal(0);
  });

  it('say aloud when no block fits', async () => {
    const publisher = await open();
    for (let id = 0; id < 20; id++) await publisher.publish(batch([['BlockStored', [id], null, [1, 2], 2, null]]));
    follow(publisher);
    while ((await metric('engine_event_dropped_total{reason="wrong_block_size"}')) < 20) await delay(1);
    expect(await metric('engine_event_mismatch')).to.equal(1);
    streams.unfollowWorker(7n);
    await streams.close();
    expect(await metric('engine_event_mismatch')).to.equal(0);
  });
});
