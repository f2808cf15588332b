import { loadCost } from './load.ts';
import type { RoutingPolicy } from './policy.ts';

/** The worker that the request names: constraints have left only its ranks, of which the first is taken. */
export function direct(): RoutingPolicy {
  return {
    name: 'direct',
    choose: (candidates) => ({ index: 0, costs: candidates.map(loadCost) }),
    explain: (candidates) => candidates.map(loadCost),
  };
}
