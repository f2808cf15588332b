import type { Candidate, Cost, RoutingPolicy } from './policy.ts';

/** A candidate uniformly at random; preferences change the odds. */
export function uniformRandom(): RoutingPolicy {
  return {
    name: 'random',
    choose(candidates, random) {
      const total = candidates.reduce((sum, candidate) => sum + 1 / candidate.preference, 0);
      let left = random() * total;
      let index = candidates.findIndex((candidate) => {
        left -= 1 / candidate.preference;
        return left < 0;
      });
      if (index < 0) index = candidates.length - 1;
      return { index, costs: candidates.map(equalCost) };
    },
    explain: (candidates) => candidates.map(equalCost),
  };
}

function equalCost({ preference }: Candidate): Cost {
  return { cost: preference, terms: { preference } };
}
