import type { Candidate, Cost, RoutingPolicy } from './policy.ts';

/** Candidates in turn, by identity, so that workers that come and go do not skew the order. */
export function roundRobin(): RoutingPolicy {
  let last: Candidate | undefined;
  const distances = (candidates: readonly Candidate[]): readonly Cost[] => {
    const order = candidates.map((_, index) => index).toSorted((a, b) => compare(candidates[a], candidates[b]));
    const next = order.findIndex((index) => compare(candidates[index], last) > 0);
    const turn = new Map(
      order.map((index, place) => [index, (place - Math.max(next, 0) + order.length) % order.length]),
    );
    return candidates.map((_, index) => ({ cost: turn.get(index) ?? 0, terms: { turn: turn.get(index) ?? 0 } }));
  };
  return {
    name: 'round-robin',
    choose(candidates) {
      const costs = distances(candidates);
      const index = costs.findIndex(({ cost }) => cost === 0);
      last = candidates[index];
      return { index, costs };
    },
    explain: distances,
  };
}

/** Order of identity; nothing comes before everything. */
function compare(a: Candidate | undefined, b: Candidate | undefined): number {
  if (a === undefined || b === undefined) return Number(a !== undefined) - Number(b !== undefined);
  if (a.instanceId !== b.instanceId) return a.instanceId < b.instanceId ? -1 : 1;
  return a.dataParallelRank - b.dataParallelRank;
}
