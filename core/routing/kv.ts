import type { CandidateTable } from './candidate-table.ts';
import { type CostSettings, settingsFor } from './cost-settings.ts';
import type { RoutedPrompt, RoutingPolicy } from './policy.ts';
import { creditBlocks, creditDecay, decodeBlocks, prefillTerms, rawPrefillBlocks } from './prefill-cost.ts';
import { leastOf, scored } from './scored.ts';

/**
 * By blocks to prefill, less those cached, and by blocks held:
 * `prefill_load_scale · max(raw_prefill − credit, 0) + decode_blocks + decode_active_request_weight · active_requests`,
 * times the candidate's preference. Where only the decode stage is placed and cached blocks count, they are taken off
 * the decode blocks. Formula: NVIDIA Dynamo 1.6, its default worker selection.
 */
export function kv(settings: CostSettings): RoutingPolicy {
  return scored({ name: 'kv', weigh: (candidates, prompt) => weigh(candidates, prompt, settings), terms }, settings);

  function terms(candidates: CandidateTable, prompt: RoutedPrompt, row: number): Record<string, number> {
    const own = settingsFor(settings, prompt);
    return {
      ...prefillTerms(candidates, row, leastOf(candidates.activePrefillTokens, candidates), prompt, own),
      prefill_load_scale: own.prefillLoadScale,
      active_requests: candidates.activeRequests[row] ?? 0,
      decode_active_request_weight: own.decodeActiveRequestWeight,
      conditional_decode: Number(creditsDecode(prompt, own)),
    };
  }
}

function weigh(candidates: CandidateTable, prompt: RoutedPrompt, settings: CostSettings): void {
  const own = settingsFor(settings, prompt);
  const least = leastOf(candidates.activePrefillTokens, candidates);
  const conditional = creditsDecode(prompt, own);
  for (let row = 0; row < candidates.count; row++) {
    const credit = creditBlocks(candidates, row, creditDecay(candidates, row, least, prompt, own), own);
    const decode = decodeBlocks(candidates, row);
    const requests = own.decodeActiveRequestWeight * (candidates.activeRequests[row] ?? 0);
    const blocks = conditional
      ? Math.max(decode - credit, 0)
      : own.prefillLoadScale * Math.max(rawPrefillBlocks(candidates, row, prompt, own) - credit, 0) + decode;
    candidates.costs[row] = (blocks + requests) * (candidates.preference[row] ?? 1);
  }
}

function creditsDecode({ stage }: RoutedPrompt, { trackPrefillTokens, overlapCredit }: CostSettings): boolean {
  return stage === 'decode' && !trackPrefillTokens && overlapCredit > 0;
}
