import type { RoutingPolicy } from './policy.ts';

/** A candidate uniformly at random; preferences change the odds. */
export function uniformRandom(): RoutingPolicy {
  return {
    name: 'random',
    weigh({ costs, preference, count }) {
      for (let row = 0; row < count; row++) costs[row] = preference[row] ?? 1;
    },
    pick({ costs, count }, _prompt, random) {
      let total = 0;
      for (let row = 0; row < count; row++) total += 1 / (costs[row] ?? 1);
      let left = random() * total;
      for (let row = 0; row < count; row++) {
        left -= 1 / (costs[row] ?? 1);
        if (left < 0) return row;
      }
      return count - 1;
    },
    terms: ({ preference }, _prompt, row) => ({ preference: preference[row] ?? 1 }),
  };
}
