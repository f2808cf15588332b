import { expect } from 'chai';
import { Random } from '../../kv-index/testing/random.ts';
import { TinyLfu } from '../eviction/tiny-lfu.ts';
import { DoublingCounters } from './doubling-counters.ts';
import { frequencyAdmission, passAll, presence, presenceLfu } from './filter.ts';
import { type OffloadItem, OffloadPipeline } from './pipeline.ts';
import { TokenBucket } from './token-bucket.ts';

const unlimited = (): TokenBucket => new TokenBucket(Number.POSITIVE_INFINITY, 1, 0);

function item(id: number, priority = 0, bytes = 10): OffloadItem {
  return { namespace: 0, digest: Uint32Array.of(id, 0, 0, 0), bytes, priority };
}

const ids = (batch: readonly OffloadItem[] | undefined): (number | undefined)[] | undefined =>
  batch?.map(({ digest }) => digest[0]);

describe('offload', () => {
  it('filters: presence, frequency of use, frequency of offers', () => {
    const frequencies = new TinyLfu(256);
    for (const [low, uses] of [
      [1, 1],
      [2, 2],
    ] as const)
      for (let i = 0; i < uses; i++) frequencies.increment(low, 0);
    const counters = new DoublingCounters(100, 1000, 0);
    const ask = (low: number, isPresent = false) => ({ low, high: 0, isPresent });
    expect(passAll().judge(ask(1, true), 0)).to.equal('admit');
    expect(presence().judge(ask(1, true), 0)).to.equal('present');
    expect(presence().judge(ask(1), 0)).to.equal('admit');
    const lfu = presenceLfu(frequencies);
    expect([lfu.judge(ask(1), 0), lfu.judge(ask(2), 0), lfu.judge(ask(2, true), 0)]).to.deep.equal([
      'rare',
      'admit',
      'present',
    ]);
    const disk = frequencyAdmission(counters);
    expect([disk.judge(ask(1), 0), disk.judge(ask(1), 10), disk.judge(ask(1), 2500)]).to.deep.equal([
      'rare',
      'admit',
      'rare',
    ]);
  });

  it('doubling counters double, decay, forget and stay within their limit', () => {
    const counters = new DoublingCounters(3, 100, 0);
    expect([1, 2, 3].map(() => counters.touch(1, 1, 0))).to.deep.equal([1, 2, 4]);
    expect(counters.touch(1, 1, 250)).to.equal(4);
    counters.touch(2, 1, 250);
    counters.touch(3, 1, 250);
    expect(counters.count).to.equal(3);
    counters.touch(4, 1, 250);
    expect(counters.count).to.equal(2);
    expect(counters.touch(1, 1, 250)).to.equal(6);
    counters.touch(9, 9, 10_000);
    expect(counters.count).to.equal(1);
  });

  it('a token bucket keeps to its rate over any history', () => {
    const random = new Random(3);
    const bucket = new TokenBucket(1000, 50, 0);
    let [nowMs, taken, largest] = [0, 0, 0];
    for (let step = 0; step < 2000; step++) {
      nowMs += random.below(20) - 2;
      if (bucket.delayMs(nowMs) > 0) continue;
      const bytes = random.below(200);
      bucket.take(bytes, nowMs);
      taken += bytes;
      largest = Math.max(largest, bytes);
    }
    expect(taken).to.be.at.most(nowMs + 50 + largest + 2);
    expect(taken).to.be.above(0.9 * nowMs);
    expect(() => new TokenBucket(0, 1, 0)).to.throw(RangeError, 'bytesPerSecond');
  });

  it('batches when enough wait or the oldest waited long enough, best first', () => {
    const pipeline = new OffloadPipeline(passAll(), unlimited(), { maxBatch: 3, minBatch: 3, flushMs: 10 });
    expect(pipeline.wakeAtMs(0)).to.equal(undefined);
    expect(pipeline.offer(item(1), false, 0)).to.equal('admit');
    expect(pipeline.offer(item(1), false, 1)).to.equal('waiting');
    pipeline.offer(item(2, 5), false, 4);
    expect(pipeline.wakeAtMs(5)).to.equal(10);
    expect(pipeline.next(9)).to.equal(undefined);
    expect(ids(pipeline.next(10))).to.deep.equal([2, 1]);
    for (const id of [3, 4, 5, 6]) pipeline.offer(item(id), false, 20);
    expect(pipeline.next(20), 'one batch at a time').to.equal(undefined);
    pipeline.finish();
    expect(ids(pipeline.next(20))).to.deep.equal([3, 4, 5]);
    pipeline.finish();
    expect(pipeline.wakeAtMs(21)).to.equal(30);
    expect(ids(pipeline.next(30))).to.deep.equal([6]);
    expect(pipeline.waiting).to.equal(0);
  });

  it('drops the worst that wait when the queue is full, and waits for bandwidth', () => {
    const bucket = new TokenBucket(1000, 10, 0);
    const pipeline = new OffloadPipeline(presence(), bucket, {
      maxBatch: 2,
      minBatch: 1,
      maxWaiting: 2,
      maxConcurrent: 9,
    });
    expect(pipeline.offer(item(9), true, 0)).to.equal('present');
    pipeline.offer(item(1, 1, 30), false, 0);
    pipeline.offer(item(2, 0, 30), false, 0);
    expect(pipeline.offer(item(3, 0), false, 0)).to.equal('dropped');
    expect(pipeline.offer(item(4, 2, 30), false, 0)).to.equal('admit');
    expect(ids(pipeline.next(0))).to.deep.equal([4, 1]);
    pipeline.offer(item(2), false, 0);
    expect(pipeline.wakeAtMs(0)).to.equal(50);
    expect(pipeline.next(49)).to.equal(undefined);
    expect(ids(pipeline.next(50))).to.deep.equal([2]);
    expect(pipeline.underWay).to.equal(2);
  });

  it('agrees with a sorted list over random histories', () => {
    for (let seed = 1; seed <= 10; seed++) {
      const random = new Random(seed);
      const pipeline = new OffloadPipeline(passAll(), unlimited(), { maxBatch: 4, minBatch: 2, maxWaiting: 6 });
      let waiting: { id: number; priority: number }[] = [];
      const seen = new Set<string>();
      let nowMs = 0;
      for (let step = 0; step < 500; step++) {
        nowMs += random.below(5);
        if (random.chance(0.2)) pipeline.finish();
        if (random.chance(0.8)) {
          const offered = { id: random.below(40), priority: random.below(3) };
          const isKnown = waiting.some(({ id }) => id === offered.id);
          const kept = isKnown ? waiting : [...waiting, offered].sort((a, b) => b.priority - a.priority).slice(0, 6);
          const expected = isKnown ? 'waiting' : kept.includes(offered) ? 'admit' : 'dropped';
          expect(pipeline.offer(item(offered.id, offered.priority), false, nowMs)).to.equal(expected);
          waiting = kept;
          seen.add(expected);
        }
        const batch = ids(pipeline.next(nowMs));
        if (batch !== undefined) expect(batch).to.deep.equal(waiting.splice(0, 4).map(({ id }) => id));
        expect(pipeline.waiting).to.equal(waiting.length);
      }
      expect([...seen].sort()).to.deep.equal(['admit', 'dropped', 'waiting']);
    }
  });
});
