import type { CandidateTable } from './candidate-table.ts';
import { type CostSettings, settingsFor } from './cost-settings.ts';
import type { RoutedPrompt, RoutingPolicy } from './policy.ts';
import { decodeBlocks } from './prefill-cost.ts';
import { scored } from './scored.ts';

/** As NVIDIA Dynamo 0.8 weighed: `overlap_score_weight · potential_prefill_tokens / block_size + decode_blocks`. */
export function kvV08(settings: CostSettings): RoutingPolicy {
  return scored(
    {
      name: 'kv-v08',
      weigh(candidates, prompt) {
        const own = settingsFor(settings, prompt);
        for (let row = 0; row < candidates.count; row++) {
          const prefill = potentialPrefillTokens(candidates, row, prompt, own) / prompt.blockSize;
          const blocks = own.overlapScoreWeight * prefill + decodeBlocks(candidates, row);
          candidates.costs[row] = blocks * (candidates.preference[row] ?? 1);
        }
      },
      terms(candidates, prompt, row) {
        const own = settingsFor(settings, prompt);
        return {
          overlap_score_weight: own.overlapScoreWeight,
          block_size: prompt.blockSize,
          prompt_tokens: prompt.promptTokens,
          track_prefill_tokens: Number(own.trackPrefillTokens),
          active_prefill_tokens: candidates.activePrefillTokens[row] ?? 0,
          device_blocks: candidates.deviceBlocks[row] ?? 0,
          potential_prefill_tokens: potentialPrefillTokens(candidates, row, prompt, own),
          active_blocks: candidates.activeBlocks[row] ?? 0,
          new_blocks: candidates.newBlocks[row] ?? 0,
          decode_blocks: decodeBlocks(candidates, row),
          preference: candidates.preference[row] ?? 1,
        };
      },
    },
    settings,
  );
}

function potentialPrefillTokens(
  candidates: CandidateTable,
  row: number,
  { promptTokens, blockSize }: RoutedPrompt,
  { trackPrefillTokens }: CostSettings,
): number {
  if (!trackPrefillTokens) return 0;
  const uncached = Math.max(0, promptTokens - (candidates.deviceBlocks[row] ?? 0) * blockSize);
  return (candidates.activePrefillTokens[row] ?? 0) + uncached;
}
