import type { CandidateTable } from './candidate-table.ts';
import { loadOf, loadTerms, requestsOn } from './load.ts';
import type { RoutingPolicy } from './policy.ts';
import { cheapestOf } from './scored.ts';
import { heaviest } from './two-tier.ts';

/**
 * For workers on unequal devices: the kind of device with the fewest requests per unit of work it can do,
 * `requests / (count · weight)`, and the least loaded of its workers. Between equals the faster kind.
 */
export function deviceAwareWeighted(): RoutingPolicy {
  return cheapestOf({
    name: 'device-aware-weighted',
    weigh(candidates) {
      const kind = leastLoadedKind(candidates);
      const penalty = heaviest(candidates);
      for (let row = 0; row < candidates.count; row++) {
        const other = candidates.deviceWeight[row] !== kind;
        candidates.costs[row] = loadOf(candidates, row) + (other ? penalty : 0);
      }
    },
    terms(candidates, _prompt, row) {
      const weight = candidates.deviceWeight[row] ?? 1;
      return {
        ...loadTerms(candidates, row),
        device_weight: weight,
        device_kind_load: kindLoad(candidates, weight),
        other_kind: Number(weight !== leastLoadedKind(candidates)),
        other_kind_penalty: heaviest(candidates),
      };
    },
  });
}

/** Weight of the kind of device that is the least loaded. Kinds are few, so that each is counted on its own. */
function leastLoadedKind(candidates: CandidateTable): number {
  let best = 0;
  let least = Infinity;
  for (const weight of new Set(candidates.deviceWeight.subarray(0, candidates.count))) {
    const load = kindLoad(candidates, weight);
    if (load < least || (load === least && weight > best)) {
      best = weight;
      least = load;
    }
  }
  return best;
}

function kindLoad(candidates: CandidateTable, weight: number): number {
  let requests = 0;
  let count = 0;
  for (let row = 0; row < candidates.count; row++) {
    if (candidates.deviceWeight[row] !== weight) continue;
    requests += requestsOn(candidates, row);
    count++;
  }
  return requests / (count * weight);
}
