import { loadTerms, weighLoad } from './load.ts';
import type { RoutingPolicy } from './policy.ts';
import { cheapestOf } from './scored.ts';

/** The least loaded candidate. */
export function leastLoaded(): RoutingPolicy {
  return cheapestOf({
    name: 'least-loaded',
    weigh: weighLoad,
    terms: (candidates, _prompt, row) => loadTerms(candidates, row),
  });
}
