import { expect } from 'chai';
import type { KvIndex } from '#core/kv-index/kv-index.ts';
import { ReferenceKvIndex } from '#core/kv-index/reference-index.ts';
import { Random } from '#core/kv-index/testing/random.ts';
import type { KvEvent } from '#gen/stator/events/v1/events_pb.ts';
import { settle, until } from '#lib/rpc/testing/wait.ts';
import { createKvIndex } from '#native/kvindex/index.ts';
import { type FakeRank, FakeWorker } from './fake-worker.test-support.ts';
import { chain, Harness } from './harness.test-support.ts';

const limits = { maxBlocks: 1_000_000, maxSlots: 1024 };

const indexes: Readonly<Record<string, () => KvIndex>> = {
  reference: () => new ReferenceKvIndex(limits),
  native: () => createKvIndex(limits),
};

function changeAtRandom(rank: FakeRank, random: Random): void {
  const kind = random.below(100);
  if (kind < 65) rank.store(chain(1 + random.below(500) * 10, 1 + random.below(10)));
  else if (kind < 98) rank.remove([...rank.blocks].slice(0, 1 + random.below(4)));
  else rank.clear();
}

/** Loses, repeats and swaps events, until there were enough of each. */
function faulty(random: Random, times: number): (events: KvEvent[]) => KvEvent[] {
  let left = times;
  return (events) => {
    const [first, second] = events;
    if (left === 0 || first === undefined || !random.chance(0.3)) return events;
    left--;
    const kind = random.below(4);
    if (kind === 0) return events.slice(1);
    if (kind === 1) return events.slice(0, -1);
    if (kind === 2) return [...events, ...events];
    return second === undefined ? [] : [second, first, ...events.slice(2)];
  };
}

for (const [name, createIndex] of Object.entries(indexes)) {
  describe(`following of KV events, ${name} index`, () => {
    it('follows every rank of every worker, and forgets the workers that are gone', async () => {
      await using one = await FakeWorker.start({ instanceId: 1n, ranks: 3 });
      await using two = await FakeWorker.start({ instanceId: 2n });
      one.ranks[1]?.store(chain(1, 40));
      using harness = new Harness(createIndex());
      harness.following.follow(one.instance);
      harness.following.follow(two.instance);
      await harness.inStep(one);
      one.ranks[2]?.store(chain(100, 5));
      one.ranks[1]?.store(chain(41, 5), 40n);
      two.rank.store(chain(1, 20));
      two.rank.remove(chain(11, 10));
      for (const worker of [one, two]) await harness.inStep(worker);
      expect(harness.match(two, chain(1, 50))).to.equal(10);
      expect(harness.following.isFollowed(1n, 1, 'm')).to.equal(true);
      expect(harness.following.isFollowed(1n, 3, 'm')).to.equal(false);
      expect(await harness.metric('events_applied_total{event_type="removed"}')).to.equal(1);
      harness.following.unfollow(1n);
      expect(harness.blocksOf(one, 1)).to.equal(undefined);
      await until(() => harness.index.stats.entries === 10, 'its blocks are gone');
      expect(harness.index.stats.slots).to.equal(1);
      expect(harness.index.stats.blocks).to.equal(10);
      expect(harness.log).to.deep.equal([]);
    });

    it('is in step again after lost, repeated and reordered events', async () => {
      const random = new Random(4);
      using harness = new Harness(createIndex());
      await using one = await FakeWorker.start({ instanceId: 1n, ring: 60 });
      await using two = await FakeWorker.start({ instanceId: 2n, ranks: 2 });
      await using three = await FakeWorker.start({ instanceId: 3n, ring: 12, start: 10_000_000_000 });
      const workers = [one, two, three];
      for (const worker of workers) {
        worker.mangle = faulty(random, 60);
        harness.following.follow(worker.instance);
      }
      for (let step = 0; step < 600; step++) {
        for (const rank of workers.flatMap(({ ranks }) => ranks)) changeAtRandom(rank, random);
        if (step % 3 === 0) await settle();
      }
      for (const worker of workers) {
        worker.mangle = (events) => events;
        worker.rank.store([1n]);
        await harness.inStep(worker);
      }
      expect(await harness.metric('event_gaps_total')).to.be.greaterThan(10);
      expect(await harness.metric('events_dropped_total{reason="gap"}')).to.be.greaterThan(10);
      expect(await harness.metric('events_dropped_total{reason="duplicate"}')).to.be.greaterThan(10);
      // What the ring still had was asked for by number.
      expect(two.asked.filter((number) => number === 0)).to.have.length(2);
      expect(two.asked.length).to.be.greaterThan(10);
    });

    it('notices by a sign of life that the last events were lost', async () => {
      await using worker = await FakeWorker.start({ instanceId: 1n });
      using harness = new Harness(createIndex());
      harness.following.follow(worker.instance);
      await harness.inStep(worker);
      worker.mangle = () => [];
      worker.rank.store(chain(1, 3));
      await until(() => worker.asked.length > 1, 'it is asked again');
      worker.mangle = (events) => events;
      await harness.inStep(worker);
      expect(worker.asked.slice(0, 2)).to.deep.equal([0, 1]);
    });

    it('goes on without a worker killed in mid-stream, and begins anew with its successor', async () => {
      const before = await FakeWorker.start({ instanceId: 1n });
      await using other = await FakeWorker.start({ instanceId: 2n });
      using harness = new Harness(createIndex());
      before.rank.store(chain(1, 30));
      for (const worker of [before, other]) harness.following.follow(worker.instance);
      await harness.inStep(before);
      await before.kill();
      other.rank.store(chain(500, 7));
      await harness.inStep(other);
      expect(harness.match(before, chain(1, 30)), 'nobody said that it is gone').to.equal(30);
      // The same identity and port, numbers from the beginning, and as many events as before.
      await using after = await FakeWorker.start({ instanceId: 1n, start: 1_000_000 }, before.address);
      after.rank.store(chain(900, 4));
      await harness.inStep(after);
      expect(harness.index.stats.slots).to.equal(2);
    });

    it('keeps what it knew until a snapshot is complete, and drops one that never is', async () => {
      await using worker = await FakeWorker.start({ instanceId: 1n, ring: 5, chunkBlocks: 10 });
      using harness = new Harness(createIndex());
      worker.rank.store(chain(1, 20));
      harness.following.follow(worker.instance);
      await harness.inStep(worker);
      worker.mangle = () => [];
      const gate = Promise.withResolvers<void>();
      let messages = 0;
      worker.onSnapshotMessage = async () => {
        messages++;
        if (messages === 3) throw new Error('the worker fails in mid-snapshot');
        if (messages === 7) await gate.promise;
      };
      for (let i = 0; i < 10; i++) worker.rank.store(chain(100 + 10 * i, 10));
      worker.mangle = (events) => events;
      await until(() => messages === 7, 'a second snapshot is under way');
      await settle();
      expect(harness.match(worker, chain(1, 20))).to.equal(20);
      expect(harness.blocksOf(worker)?.size).to.equal(20);
      gate.resolve();
      await harness.inStep(worker);
      await until(() => harness.index.stats.entries === 120, 'the slots given up are empty');
      expect(harness.index.stats.slots).to.equal(1);
    });

    it('asks for a snapshot after a malformed message', async () => {
      await using worker = await FakeWorker.start({ instanceId: 1n });
      using harness = new Harness(createIndex());
      harness.following.follow(worker.instance);
      await harness.inStep(worker);
      for (const garbage of [
        Uint8Array.of(0x0a, 0x7f, 1),
        Uint8Array.of(0x0a, 4, 0x08, 2, 0x1a, 9),
        Uint8Array.of(7),
      ]) {
        worker.garbage = garbage;
        worker.rank.store(chain(worker.rank.newest * 10 + 1, 3));
        await harness.inStep(worker);
      }
      expect(worker.asked).to.deep.equal([0, 0, 0, 0]);
      expect(await harness.metric('events_dropped_total{reason="malformed"}')).to.equal(3);
    });

    it('leaves nothing behind when it is closed in mid-snapshot', async () => {
      await using worker = await FakeWorker.start({ instanceId: 1n, chunkBlocks: 10 });
      using harness = new Harness(createIndex(), { kvEventBlocksPerTurn: 16 });
      worker.rank.store(chain(1, 500));
      let messages = 0;
      worker.onSnapshotMessage = async () => void messages++;
      harness.following.follow(worker.instance);
      await until(() => messages > 5, 'a snapshot comes in');
      harness.following.close();
      await until(() => harness.index.stats.blocks === 0, 'everything is reclaimed');
      expect(harness.index.stats.slots).to.equal(0);
      const { asked } = worker;
      const times = asked.length;
      await settle();
      expect(asked).to.have.length(times);
    });
  });
}
