import { loadTerms, weighLoad } from './load.ts';
import type { RoutingPolicy } from './policy.ts';

/** The less loaded of two different candidates chosen at random (Mitzenmacher, 2001): nearly as even as the least loaded, without herding. */
export function powerOfTwo(): RoutingPolicy {
  return {
    name: 'power-of-two',
    weigh: weighLoad,
    pick({ costs, count }, _prompt, random) {
      if (count < 2) return 0;
      const first = Math.floor(random() * count);
      const second = (first + 1 + Math.floor(random() * (count - 1))) % count;
      return (costs[second] ?? Infinity) < (costs[first] ?? Infinity) ? second : first;
    },
    terms: (candidates, _prompt, row) => loadTerms(candidates, row),
  };
}
