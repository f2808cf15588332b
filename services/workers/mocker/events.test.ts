import { expect } from 'chai';
import { unpackHashes } from '#core/tokens/packed-hashes.ts';
import type { KvEvent } from '#gen/stator/events/v1/events_pb.ts';
import { until } from '#lib/rpc/testing/wait.ts';
import { collect, rejection, startTestWorker, type TestWorker } from './testing.ts';

const stop = { maxTokens: 40, ignoreEos: true };

/** Follows KV events as the router does: the set of cached blocks, and the numbers without gaps. */
class Follower {
  readonly blocks = new Set<bigint>();
  readonly abort = new AbortController();
  readonly faults: string[] = [];
  snapshots = 0;
  newest = 0n;
  last = 0n;
  messages = 0;
  readonly done: Promise<unknown>;

  constructor(test: TestWorker, from = 0n) {
    this.done = this.#follow(test, from).catch((thrown: unknown) => thrown);
  }

  async #follow(test: TestWorker, from: bigint): Promise<void> {
    const stream = test.client.subscribeKvEvents({ fromSequenceNumber: from }, { signal: this.abort.signal });
    let inSnapshot = false;
    for await (const message of stream) {
      this.messages++;
      this.newest = message.newestSequenceNumber;
      if (message.snapshot && !inSnapshot) this.blocks.clear();
      inSnapshot = message.snapshot && !message.snapshotEnd;
      if (message.snapshotEnd) {
        this.snapshots++;
        this.last = message.newestSequenceNumber;
      }
      for (const event of message.batch?.events ?? []) this.#apply(event, message.snapshot);
    }
  }

  #apply(event: KvEvent, snapshot: boolean): void {
    if (!snapshot) {
      if (this.last > 0n && event.sequenceNumber !== this.last + 1n)
        this.faults.push(`${event.sequenceNumber} after ${this.last}`);
      this.last = event.sequenceNumber;
    }
    const { change } = event;
    if (change.case === 'stored') for (const hash of unpackHashes(change.value.sequenceHashes)) this.blocks.add(hash);
    if (change.case === 'removed')
      for (const hash of unpackHashes(change.value.sequenceHashes)) this.blocks.delete(hash);
  }
}

function cached(test: TestWorker): Set<bigint> {
  const [host] = test.worker.context.models.hosts;
  const hashes = [...(host?.engine.kvSnapshot() ?? [])].flatMap(({ change }) =>
    change.case === 'stored' ? [...unpackHashes(change.value.sequenceHashes)] : [],
  );
  return new Set(hashes);
}

function generate(test: TestWorker, seed: number) {
  return collect(test.client.generate({ tokenIds: [seed, ...new Array<number>(30).fill(60)], stop }));
}

describe('worker: KV events and forward passes', () => {
  it('begins with a snapshot and continues without a gap, whenever one joins', async () => {
    await using test = await startTestWorker({ engine: { kvBlocks: 40, contextLength: 320 } });
    const followers: Follower[] = [];
    for (let round = 0; round < 8; round++) {
      followers.push(new Follower(test));
      await Promise.all([generate(test, 40 + round), generate(test, 140 + round)]);
    }
    const newest = BigInt(test.worker.context.models.hosts[0]?.kvEvents.newest(0) ?? 0);
    await until(() => followers.every((follower) => follower.last === newest), 'all have caught up');
    for (const follower of followers) {
      expect(follower.faults).to.deep.equal([]);
      expect(follower.snapshots).to.equal(1);
      expect(follower.blocks).to.deep.equal(cached(test));
      follower.abort.abort();
    }
    expect(cached(test).size).to.be.greaterThan(0);
  });

  it('continues from a number that it still has, and begins again from one it has not', async () => {
    await using test = await startTestWorker({ config: { kvEventRing: 4 } });
    await generate(test, 40);
    await generate(test, 41);
    const newest = BigInt(test.worker.context.models.hosts[0]?.kvEvents.newest(0) ?? 0);
    expect(newest > 5n).to.equal(true);
    for (const [from, snapshots] of [
      [newest - 1n, 0],
      [1n, 1],
      [newest + 100n, 1],
      [newest + 1n, 0],
    ] as const) {
      const follower = new Follower(test, from);
      if (from === newest + 1n) await generate(test, 90);
      await until(() => follower.last >= newest, `the follower from ${from} has caught up`);
      expect(follower.snapshots, `from ${from}`).to.equal(snapshots);
      expect(follower.faults).to.deep.equal([]);
      follower.abort.abort();
    }
  });

  it('says that it lives while nothing happens', async () => {
    await using test = await startTestWorker({ config: { subscriptionHeartbeatMs: 20 } });
    const follower = new Follower(test);
    await until(() => follower.messages >= 4, 'heartbeats come');
    expect(follower.blocks.size).to.equal(0);
    follower.abort.abort();
  });

  it('cuts a subscriber that fell off the ring', async () => {
    await using test = await startTestWorker({ config: { kvEventRing: 2 } });
    const [host] = test.worker.context.models.hosts;
    if (host === undefined) throw new Error('no host');
    const abort = new AbortController();
    const options = { signal: abort.signal, heartbeatMs: 10_000 };
    const request = {
      $typeName: 'stator.engine.v1.SubscribeKvEventsRequest',
      model: '',
      fromSequenceNumber: 0n,
    } as const;
    const stream = host.kvEvents.subscribe(request, options);
    await stream.next();
    await generate(test, 40);
    const error = await rejection(stream.next());
    expect(error).to.include({ code: 'slow_reader', retryable: true });
    const metrics = await test.telemetry.metrics.metrics();
    expect(metrics).to.match(/stator_worker_kv_subscribers_cut_total\{model="synthetic"\} 1/);
  });

  it('refuses a rank that there is not', async () => {
    await using test = await startTestWorker();
    const stream = test.client.subscribeKvEvents({ dataParallelRank: 3 })[Symbol.asyncIterator]();
    expect(await rejection(stream.next())).to.include({ code: 'invalid_argument', field: 'data_parallel_rank' });
  });

  it('publishes forward passes; a slow reader loses the oldest and is told how many', async () => {
    await using test = await startTestWorker({ config: { forwardPassRing: 8 } });
    const abort = new AbortController();
    const passes: bigint[] = [];
    let tokens = 0;
    const following = (async () => {
      for await (const message of test.client.subscribeForwardPasses({}, { signal: abort.signal })) {
        for (const pass of message.passes) {
          passes.push(pass.sequenceNumber);
          tokens += pass.prefillTokens;
        }
      }
    })();
    const feed = test.worker.context.models.hosts[0]?.passes;
    const slow = feed?.open();
    await until(() => feed !== undefined, 'the feed exists');
    while (tokens === 0) await generate(test, 40);
    abort.abort();
    await rejection(following);
    expect(passes.every((number, at) => at === 0 || number > (passes[at - 1] ?? 0n))).to.equal(true);
    expect(slow?.passes).to.have.length(8);
    expect(slow?.dropped).to.be.greaterThan(0);
  });

  it('forgets cached blocks on ClearCache', async () => {
    await using test = await startTestWorker();
    await generate(test, 40);
    const size = cached(test).size;
    expect(size).to.be.greaterThan(0);
    expect((await test.client.clearCache({})).blocks).to.equal(BigInt(size));
    expect(cached(test).size).to.equal(0);
  });
});
