import { loadTerms, weighLoad } from './load.ts';
import type { RoutingPolicy } from './policy.ts';
import { cheapestOf } from './scored.ts';

/** The worker that the request names: constraints have left only its ranks, of which the least loaded is taken. */
export function direct(): RoutingPolicy {
  return cheapestOf({
    name: 'direct',
    weigh: weighLoad,
    terms: (candidates, _prompt, row) => loadTerms(candidates, row),
  });
}
