import { cheapest, loadCost } from './load.ts';
import type { RoutingPolicy } from './policy.ts';

/** The less loaded of two different candidates chosen at random (Mitzenmacher, 2001): nearly as even as the least loaded, without herding. */
export function powerOfTwo(): RoutingPolicy {
  return {
    name: 'power-of-two',
    choose(candidates, random) {
      const costs = candidates.map(loadCost);
      if (candidates.length < 2) return { index: 0, costs };
      const first = Math.floor(random() * candidates.length);
      const second = (first + 1 + Math.floor(random() * (candidates.length - 1))) % candidates.length;
      const pair = [first, second];
      const winner = cheapest(
        pair.map((index) => costs[index] ?? { cost: Infinity, terms: {} }),
        random,
      );
      return { index: pair[winner] ?? first, costs };
    },
    explain: (candidates) => candidates.map(loadCost),
  };
}
