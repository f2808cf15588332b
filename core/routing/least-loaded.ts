import { cheapest, loadCost } from './load.ts';
import type { RoutingPolicy } from './policy.ts';

/** The least loaded candidate. */
export function leastLoaded(): RoutingPolicy {
  return {
    name: 'least-loaded',
    choose(candidates, random) {
      const costs = candidates.map(loadCost);
      return { index: cheapest(costs, random), costs };
    },
    explain: (candidates) => candidates.map(loadCost),
  };
}
