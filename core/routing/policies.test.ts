import { expect } from 'chai';
import fc from 'fast-check';
import { seeded } from '#core/sequences/twin.test-support.ts';
import { CandidateTable, type KnownCandidate } from './candidate-table.ts';
import { createPolicy, type PolicyName, type PolicySettings, policyNames } from './factory.ts';
import { explainCosts, type Random, type RoutedPrompt } from './policy.ts';

const prompt: RoutedPrompt = { promptTokens: 64, blockSize: 16, blocks: 4 };

function tableOf(candidates: readonly KnownCandidate[]): CandidateTable {
  const table = new CandidateTable();
  for (const candidate of candidates) table.push(candidate);
  return table;
}

/** Workers 1, 2, … with what is known of each. */
function workers(...known: readonly Partial<KnownCandidate>[]): CandidateTable {
  return tableOf(known.map((extra, i) => ({ instanceId: BigInt(i + 1), ...extra })));
}

function choose(name: PolicyName, table: CandidateTable, random: Random, settings?: PolicySettings): number {
  const policy = createPolicy(name, settings);
  policy.weigh(table, prompt);
  return policy.pick(table, prompt, random);
}

const count = fc.integer({ min: 0, max: 40 });
const known = fc.record({
  activeRequests: count,
  reportedSequences: count,
  activePrefillTokens: count,
  activeBlocks: count,
  activeTokens: count,
  newBlocks: count,
  deviceBlocks: fc.integer({ min: 0, max: 4 }),
  preference: fc.double({ min: 0.4, max: 2, noNaN: true }),
  deviceWeight: fc.constantFrom(1, 8),
});
const tables = fc.array(known, { minLength: 1, maxLength: 40 }).map((list) => workers(...list));

describe('routing policies', () => {
  for (const name of policyNames) {
    it(`${name} chooses a candidate and explains every one`, () => {
      fc.assert(
        fc.property(tables, fc.integer(), (table, seed) => {
          const policy = createPolicy(name);
          policy.weigh(table, prompt);
          const costs = explainCosts(policy, table, prompt);
          expect(policy.pick(table, prompt, seeded(seed))).to.be.within(0, table.count - 1);
          expect(costs).to.have.length(table.count);
          for (const { cost, terms } of costs)
            for (const value of [cost, ...Object.values(terms)]) expect(Number.isFinite(value)).to.equal(true);
        }),
      );
    });
  }

  it('round-robin gives everyone the same number of turns, in whatever order candidates come', () => {
    const policy = createPolicy('round-robin');
    const list = [3n, 1n, 2n].map((instanceId) => ({ instanceId }));
    const turns = Array.from({ length: 9 }, (_, turn) => {
      const shown = tableOf(turn % 2 === 0 ? list : list.toReversed());
      policy.weigh(shown, prompt);
      return shown.instanceIds[policy.pick(shown, prompt, seeded(1))];
    });
    expect(turns).to.deep.equal([1n, 2n, 3n, 1n, 2n, 3n, 1n, 2n, 3n]);
  });

  it('round-robin explains without taking a turn', () => {
    const policy = createPolicy('round-robin');
    const table = workers({}, {});
    policy.weigh(table, prompt);
    policy.weigh(table, prompt);
    expect(explainCosts(policy, table, prompt).map(({ cost }) => cost)).to.deep.equal([0, 1]);
    expect(policy.pick(table, prompt, seeded(1))).to.equal(0);
  });

  it('random prefers a carried taint by its odds', () => {
    const table = workers({}, { preference: 0.5 });
    const random = seeded(3);
    const second = Array.from({ length: 3000 }, () => choose('random', table, random)).filter((row) => row === 1);
    expect(second.length).to.be.within(1900, 2100);
  });

  it('least-loaded never picks more load than needed', () => {
    fc.assert(
      fc.property(fc.array(count, { minLength: 1, maxLength: 12 }), fc.integer(), (loads, seed) => {
        const table = workers(...loads.map((activeRequests) => ({ activeRequests })));
        expect(loads[choose('least-loaded', table, seeded(seed))]).to.equal(Math.min(...loads));
      }),
    );
  });

  it('least-loaded breaks ties evenly', () => {
    const random = seeded(7);
    const table = workers({}, {}, {}, {});
    const counts = [0, 0, 0, 0];
    for (let i = 0; i < 4000; i++) {
      const row = choose('least-loaded', table, random);
      counts[row] = (counts[row] ?? 0) + 1;
    }
    for (const chosen of counts) expect(chosen).to.be.within(850, 1150);
  });

  it('power-of-two avoids the most loaded of all', () => {
    const table = workers({ activeRequests: 5 }, {}, { activeRequests: 1 });
    for (let seed = 0; seed < 200; seed++) expect(choose('power-of-two', table, seeded(seed))).to.not.equal(0);
  });

  it('counts what a worker reports beyond the router’s own placements', () => {
    const table = workers({ reportedSequences: 4 }, { activeRequests: 2 });
    expect(choose('least-loaded', table, seeded(1))).to.equal(1);
  });

  it('prefers a carried taint among equals', () => {
    const table = workers({}, { preference: 0.5 });
    for (const name of ['least-loaded', 'token-balance', 'kv', 'lmetric'] as const)
      expect(choose(name, table, seeded(1))).to.equal(1);
  });

  it('direct takes the least loaded rank of the worker', () => {
    expect(choose('direct', workers({ activeRequests: 2 }, { activeRequests: 1 }), seeded(1))).to.equal(1);
  });

  it('token-balance takes the rank with the fewest tokens, however many requests they are', () => {
    const table = workers({ activeRequests: 1, activeTokens: 9000 }, { activeRequests: 30, activeTokens: 3000 });
    expect(choose('token-balance', table, seeded(1))).to.equal(1);
  });

  describe('two-tier', () => {
    it('takes the least loaded of those with most of the prompt', () => {
      const table = workers(
        { deviceBlocks: 3, activeRequests: 9 },
        { deviceBlocks: 3, activeRequests: 8 },
        { deviceBlocks: 2 },
      );
      expect(choose('two-tier', table, seeded(1))).to.equal(1);
    });

    it('goes by load where none has enough of it', () => {
      const table = workers({ deviceBlocks: 2, activeRequests: 1 }, {});
      expect(choose('two-tier', table, seeded(1))).to.equal(1);
    });

    it('goes by load where load is uneven by number and by ratio', () => {
      const busy = (requests: number) => workers({ deviceBlocks: 4, activeRequests: requests }, {});
      expect(choose('two-tier', busy(32), seeded(1))).to.equal(0);
      expect(choose('two-tier', busy(33), seeded(1))).to.equal(1);
      const even = workers({ deviceBlocks: 4, activeRequests: 1033 }, { activeRequests: 1000 });
      expect(choose('two-tier', even, seeded(1))).to.equal(0);
      const stricter = { twoTier: { imbalanceRatio: 1.01 } };
      expect(choose('two-tier', even, seeded(1), stricter)).to.equal(1);
    });
  });

  describe('device-aware-weighted', () => {
    // Two fast devices at 8 units of work each against one slow one.
    const fleet = (fast: number, slow: number) =>
      workers(
        { deviceWeight: 8, activeRequests: fast },
        { deviceWeight: 8, activeRequests: fast + 1 },
        { deviceWeight: 1, activeRequests: slow },
      );

    it('keeps to the fast kind until it has its share', () => {
      // (3 + 4) / 16 < 1 / 1
      expect(choose('device-aware-weighted', fleet(3, 1), seeded(1))).to.equal(0);
    });

    it('goes to the slow kind beyond', () => {
      // (8 + 9) / 16 > 1 / 1
      expect(choose('device-aware-weighted', fleet(8, 1), seeded(1))).to.equal(2);
    });

    it('takes the fast kind between equals', () => {
      expect(choose('device-aware-weighted', workers({ deviceWeight: 1 }, { deviceWeight: 8 }), seeded(1))).to.equal(1);
    });
  });
});
