import { expect } from 'chai';
import fc from 'fast-check';
import { createPolicy, policyNames } from './factory.ts';
import type { Candidate } from './policy.ts';

function candidate(instanceId: bigint, extra: Partial<Candidate> = {}): Candidate {
  return {
    instanceId,
    dataParallelRank: 0,
    activeRequests: 0,
    activePrefillTokens: 0,
    activeBlocks: 0,
    reportedSequences: 0,
    preference: 1,
    ...extra,
  };
}

/** A small generator that repeats (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const candidates = fc
  .uniqueArray(fc.bigInt({ min: 1n, max: 50n }), { minLength: 1, maxLength: 12 })
  .chain((ids) =>
    fc.tuple(
      ...ids.map((id) => fc.integer({ min: 0, max: 9 }).map((activeRequests) => candidate(id, { activeRequests }))),
    ),
  );

describe('routing policies', () => {
  for (const name of policyNames) {
    it(`${name} chooses a candidate and explains every one`, () => {
      fc.assert(
        fc.property(candidates, fc.integer(), (list, seed) => {
          const { index, costs } = createPolicy(name).choose(list, seeded(seed));
          expect(index).to.be.within(0, list.length - 1);
          expect(costs).to.have.length(list.length);
          for (const { cost } of costs) expect(Number.isFinite(cost)).to.equal(true);
        }),
      );
    });
  }

  it('round-robin gives everyone the same number of turns, in whatever order candidates come', () => {
    const policy = createPolicy('round-robin');
    const list = [3n, 1n, 2n].map((id) => candidate(id));
    const turns = Array.from({ length: 9 }, (_, turn) => {
      const shown = turn % 2 === 0 ? list : list.toReversed();
      return shown[policy.choose(shown, seeded(1)).index]?.instanceId;
    });
    expect(turns).to.deep.equal([1n, 2n, 3n, 1n, 2n, 3n, 1n, 2n, 3n]);
  });

  it('round-robin explains without taking a turn', () => {
    const policy = createPolicy('round-robin');
    const list = [1n, 2n].map((id) => candidate(id));
    policy.explain(list);
    expect(list[policy.choose(list, seeded(1)).index]?.instanceId).to.equal(1n);
  });

  it('least-loaded never picks more load than needed', () => {
    fc.assert(
      fc.property(candidates, fc.integer(), (list, seed) => {
        const chosen = list[createPolicy('least-loaded').choose(list, seeded(seed)).index];
        expect(chosen?.activeRequests).to.equal(Math.min(...list.map((c) => c.activeRequests)));
      }),
    );
  });

  it('least-loaded breaks ties evenly', () => {
    const random = seeded(7);
    const list = [1n, 2n, 3n, 4n].map((id) => candidate(id));
    const counts = new Map<bigint, number>();
    for (let i = 0; i < 4000; i++) {
      const chosen = list[createPolicy('least-loaded').choose(list, random).index]?.instanceId ?? 0n;
      counts.set(chosen, (counts.get(chosen) ?? 0) + 1);
    }
    for (const id of [1n, 2n, 3n, 4n]) expect(counts.get(id)).to.be.within(850, 1150);
  });

  it('power-of-two avoids the most loaded of all', () => {
    const list = [candidate(1n, { activeRequests: 5 }), candidate(2n), candidate(3n, { activeRequests: 1 })];
    for (let seed = 0; seed < 200; seed++)
      expect(createPolicy('power-of-two').choose(list, seeded(seed)).index).to.not.equal(0);
  });

  it('counts what a worker reports beyond the router’s own placements', () => {
    const list = [candidate(1n, { reportedSequences: 4 }), candidate(2n, { activeRequests: 2 })];
    expect(createPolicy('least-loaded').choose(list, seeded(1)).index).to.equal(1);
  });

  it('prefers a carried taint among equals', () => {
    const list = [candidate(1n), candidate(2n, { preference: 0.5 })];
    expect(createPolicy('least-loaded').choose(list, seeded(1)).index).to.equal(1);
  });
});
