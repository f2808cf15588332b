import type { CandidateTable } from './candidate-table.ts';
import type { RoutingPolicy } from './policy.ts';

interface Identity {
  readonly instanceId: bigint;
  readonly dataParallelRank: number;
}

/** Candidates in turn, by identity, so that workers that come and go do not skew the order. */
export function roundRobin(): RoutingPolicy {
  let last: Identity | undefined;
  return {
    name: 'round-robin',
    weigh(candidates) {
      candidates.costs.fill(1, 0, candidates.count);
      candidates.costs[nextAfter(candidates, last)] = 0;
    },
    pick(candidates) {
      const row = candidates.costs.indexOf(0);
      last = identityOf(candidates, row);
      return row;
    },
    terms: ({ costs }, _prompt, row) => ({ turns_to_wait: costs[row] ?? 0 }),
  };
}

/** Row of the smallest identity above the last, or of the smallest of all. */
function nextAfter(candidates: CandidateTable, last: Identity | undefined): number {
  let smallest = 0;
  let next: number | undefined;
  for (let row = 0; row < candidates.count; row++) {
    const identity = identityOf(candidates, row);
    if (isBefore(identity, identityOf(candidates, smallest))) smallest = row;
    if (last !== undefined && isBefore(last, identity))
      if (next === undefined || isBefore(identity, identityOf(candidates, next))) next = row;
  }
  return next ?? smallest;
}

function identityOf({ instanceIds, dataParallelRank }: CandidateTable, row: number): Identity {
  return { instanceId: instanceIds[row] ?? 0n, dataParallelRank: dataParallelRank[row] ?? 0 };
}

function isBefore(a: Identity, b: Identity): boolean {
  return a.instanceId === b.instanceId ? a.dataParallelRank < b.dataParallelRank : a.instanceId < b.instanceId;
}
