import { type CostSettings, settingsFor } from './cost-settings.ts';
import type { RoutingPolicy } from './policy.ts';
import { creditBlocks, creditDecay, decodeBlocks, prefillTerms, rawPrefillBlocks } from './prefill-cost.ts';
import { leastOf, scored } from './scored.ts';

/**
 * By the product of what is to prefill and what is held: `prefill_blocks · (decode_blocks + 1)`. Needs no weights. Where
 * prompts are no work, by what is held alone.
 */
export function lmetric(settings: CostSettings): RoutingPolicy {
  return scored(
    {
      name: 'lmetric',
      weigh(candidates, prompt) {
        const own = settingsFor(settings, prompt);
        const least = leastOf(candidates.activePrefillTokens, candidates);
        for (let row = 0; row < candidates.count; row++) {
          const credit = creditBlocks(candidates, row, creditDecay(candidates, row, least, prompt, own), own);
          const raw = rawPrefillBlocks(candidates, row, prompt, own);
          const prefill = own.trackPrefillTokens ? Math.max(raw - credit, 0) : 1;
          candidates.costs[row] = prefill * (decodeBlocks(candidates, row) + 1) * (candidates.preference[row] ?? 1);
        }
      },
      terms: (candidates, prompt, row) =>
        prefillTerms(
          candidates,
          row,
          leastOf(candidates.activePrefillTokens, candidates),
          prompt,
          settingsFor(settings, prompt),
        ),
    },
    settings,
  );
}
