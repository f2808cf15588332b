import { expect } from 'chai';
import { Random } from '../../kv-index/testing/random.ts';
import { nowhere } from '../reading.ts';
import { Onboarding } from './onboarding.ts';
import { peerSource, planOnboarding } from './plan.ts';

const costs = [
  { latencyMs: 0, blockMs: 1 },
  { latencyMs: 2, blockMs: 3 },
  { latencyMs: 50, blockMs: 5 },
  { latencyMs: 10, blockMs: 2 },
];

const limits = { maxLoad: 4, window: 8, loadsPerSource: 2, deadlineMs: 1000 };

describe('onboarding', () => {
  it('loads from each source beside the others, as long as that is sooner than computing', () => {
    const plan = planOnboarding(Uint8Array.of(0, 0, 1, 1, peerSource, 2), 8, costs, 20);
    expect(plan.segments).to.deep.equal([
      { source: 0, from: 0, count: 2 },
      { source: 1, from: 2, count: 2 },
      { source: peerSource, from: 4, count: 1 },
    ]);
    // Peer: 10 + 2; the three blocks after it are computed. With the object store it would be 55 + 40.
    expect(plan).to.include({ blocks: 5, expectedMs: 72, recomputeMs: 160 });
    expect(planOnboarding(Uint8Array.of(2), 1, costs, 20)).to.include({ blocks: 0, expectedMs: 20 });
    expect(planOnboarding(Uint8Array.of(0, nowhere, 0), 3, costs, 20).blocks).to.equal(1);
    expect(planOnboarding(Uint8Array.of(0, 1), 2, [costs[0]], 20).blocks, 'a source without a path').to.equal(1);
  });

  it('is never slower than any other length of the match', () => {
    const random = new Random(4);
    for (let i = 0; i < 300; i++) {
      const sources = Uint8Array.from({ length: 1 + random.below(12) }, () => random.below(4));
      const total = sources.length + random.below(5);
      const plan = planOnboarding(sources, total, costs, 1 + random.below(20));
      const recompute = plan.recomputeMs / total;
      for (let length = 0; length <= sources.length; length++) {
        const ready = costs.map(({ latencyMs, blockMs }, source) => {
          const count = sources.subarray(0, length).filter((one) => one === source).length;
          return count === 0 ? 0 : latencyMs + count * blockMs;
        });
        expect(plan.expectedMs).to.be.at.most(Math.max(0, ...ready) + (total - length) * recompute + 1e-9);
      }
      expect(plan.segments.reduce((sum, { count }) => sum + count, 0)).to.equal(plan.blocks);
    }
  });

  it('fetches the next blocks while earlier ones load, and hands over in order', () => {
    const plan = planOnboarding(new Uint8Array(12), 12, costs, 20);
    const onboarding = new Onboarding(plan, limits);
    expect(onboarding.begin(0).map(({ from }) => from)).to.deep.equal([0, 4]);
    onboarding.finish(4, 4);
    expect(onboarding.hand()).to.equal(null);
    expect(onboarding.begin(0), 'the window is full').to.deep.equal([]);
    onboarding.finish(0, 4);
    expect(onboarding.hand()).to.deep.equal({ from: 0, count: 8 });
    expect(onboarding.begin(0).map(({ from }) => from)).to.deep.equal([8]);
    onboarding.finish(8, 2);
    expect(onboarding.blocks).to.equal(10);
    expect(onboarding.hand()).to.deep.equal({ from: 8, count: 2 });
    expect(onboarding.isDone).to.equal(true);
    expect(() => onboarding.finish(8, 4)).to.throw(RangeError, 'no load from block 8');
  });

  it('gives up what is late, and what a cancelled request wanted', () => {
    const plan = planOnboarding(new Uint8Array(8), 8, costs, 20);
    const late = new Onboarding(plan, limits);
    late.begin(0);
    late.finish(0, 4);
    expect(late.begin(1000)).to.deep.equal([]);
    expect(late.hand()).to.deep.equal({ from: 0, count: 4 });
    expect([late.isDone, late.loading]).to.deep.equal([true, 1]);
    late.finish(4, 4);
    expect([late.hand(), late.loading]).to.deep.equal([null, 0]);
    const cancelled = new Onboarding(plan, limits);
    cancelled.begin(0);
    cancelled.cancel();
    cancelled.finish(0, 4);
    expect([cancelled.hand(), cancelled.isDone, cancelled.begin(0)]).to.deep.equal([null, true, []]);
  });

  it('hands over a sound prefix whatever fails and in whatever order', () => {
    for (let seed = 1; seed <= 100; seed++) {
      const random = new Random(seed);
      const sources = Uint8Array.from({ length: 30 }, () => random.below(2));
      const onboarding = new Onboarding(planOnboarding(sources, 30, costs, 1000), limits);
      const failing = random.chance(0.5) ? random.below(30) : 30;
      const begun = onboarding.begin(0);
      let handed = 0;
      while (begun.length > 0) {
        const [load] = begun.splice(random.below(begun.length), 1);
        if (load === undefined) break;
        onboarding.finish(load.from, Math.max(0, Math.min(load.count, failing - load.from)));
        for (let ready = onboarding.hand(); ready !== null; ready = onboarding.hand()) {
          expect(ready.from).to.equal(handed);
          handed += ready.count;
        }
        begun.push(...onboarding.begin(0));
      }
      expect([handed, onboarding.isDone, onboarding.loading], `seed ${seed}`).to.deep.equal([failing, true, 0]);
    }
  });
});
