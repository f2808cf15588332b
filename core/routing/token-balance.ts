import type { CostSettings } from './cost-settings.ts';
import type { RoutingPolicy } from './policy.ts';
import { scored } from './scored.ts';

/** The fewest tokens in flight, prompts and outputs, done and expected: for ranks that step together, where the fullest sets the pace. */
export function tokenBalance(settings: CostSettings): RoutingPolicy {
  return scored(
    {
      name: 'token-balance',
      // One is added so that a preference tells idle workers apart too.
      weigh(candidates) {
        for (let row = 0; row < candidates.count; row++)
          candidates.costs[row] = (1 + (candidates.activeTokens[row] ?? 0)) * (candidates.preference[row] ?? 1);
      },
      terms: (candidates, _prompt, row) => ({
        active_tokens: candidates.activeTokens[row] ?? 0,
        preference: candidates.preference[row] ?? 1,
      }),
    },
    settings,
  );
}
