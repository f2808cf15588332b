import type { CandidateTable } from './candidate-table.ts';
import type { CostSettings } from './cost-settings.ts';
import type { RoutedPrompt } from './policy.ts';

/** What a worker has of a prompt beyond nothing, in blocks by tier. */
export interface TierHits {
  readonly deviceBlocks: number;
  readonly hostBlocks: number;
  readonly diskBlocks: number;
  readonly externalBlocks: number;
}

/** Prompt tokens that a worker need not compute, hits of slower tiers in part, as the queue and the accounts count them. */
export function effectiveCachedTokens(hits: TierHits, prompt: RoutedPrompt, settings: CostSettings): number {
  const { deviceBlocks, hostBlocks, diskBlocks, externalBlocks } = hits;
  const { hostCacheHitWeight: host, diskCacheHitWeight: disk } = settings;
  const blocks = deviceBlocks + host * hostBlocks + disk * (diskBlocks + externalBlocks);
  return Math.min(prompt.promptTokens, Math.round(blocks * prompt.blockSize));
}

/**
 * Factor on the credit of device blocks: cached blocks are worth the less, the more prompt tokens wait there than where
 * the fewest do, measured in prompts of this size.
 */
export function creditDecay(
  candidates: CandidateTable,
  row: number,
  leastPrefillTokens: number,
  prompt: RoutedPrompt,
  settings: CostSettings,
): number {
  if (!settings.trackPrefillTokens || settings.overlapCreditDecay <= 0) return 1;
  const excessBlocks = ((candidates.activePrefillTokens[row] ?? 0) - leastPrefillTokens) / prompt.blockSize;
  return 1 / (1 + (settings.overlapCreditDecay * excessBlocks) / Math.max(1, prompt.blocks));
}

/** Blocks of prefill that cached blocks of all tiers save. */
export function creditBlocks(candidates: CandidateTable, row: number, decay: number, settings: CostSettings): number {
  const { deviceBlocks, hostBlocks, diskBlocks, externalBlocks, sharedBlocks } = candidates;
  return (
    settings.overlapCredit * decay * (deviceBlocks[row] ?? 0) +
    settings.hostCacheHitWeight * (hostBlocks[row] ?? 0) +
    settings.diskCacheHitWeight * ((diskBlocks[row] ?? 0) + (externalBlocks[row] ?? 0)) +
    settings.sharedCacheMultiplier * (sharedBlocks[row] ?? 0)
  );
}

/** Blocks to prefill if nothing were cached: what waits there and the prompt. */
export function rawPrefillBlocks(
  candidates: CandidateTable,
  row: number,
  prompt: RoutedPrompt,
  settings: CostSettings,
): number {
  if (!settings.trackPrefillTokens) return 0;
  return ((candidates.activePrefillTokens[row] ?? 0) + prompt.promptTokens) / prompt.blockSize;
}

/** KV blocks held there with the request. */
export function decodeBlocks(candidates: CandidateTable, row: number): number {
  return (candidates.activeBlocks[row] ?? 0) + (candidates.newBlocks[row] ?? 0);
}

/** What the functions above are made of and what they give, by name. */
export function prefillTerms(
  candidates: CandidateTable,
  row: number,
  leastPrefillTokens: number,
  prompt: RoutedPrompt,
  settings: CostSettings,
): Record<string, number> {
  const decay = creditDecay(candidates, row, leastPrefillTokens, prompt, settings);
  const credit = creditBlocks(candidates, row, decay, settings);
  const raw = rawPrefillBlocks(candidates, row, prompt, settings);
  return {
    prompt_tokens: prompt.promptTokens,
    block_size: prompt.blockSize,
    prompt_blocks: Math.max(1, prompt.blocks),
    track_prefill_tokens: Number(settings.trackPrefillTokens),
    active_prefill_tokens: candidates.activePrefillTokens[row] ?? 0,
    least_active_prefill_tokens: leastPrefillTokens,
    device_blocks: candidates.deviceBlocks[row] ?? 0,
    host_blocks: candidates.hostBlocks[row] ?? 0,
    disk_blocks: candidates.diskBlocks[row] ?? 0,
    external_blocks: candidates.externalBlocks[row] ?? 0,
    shared_blocks: candidates.sharedBlocks[row] ?? 0,
    overlap_credit: settings.overlapCredit,
    overlap_credit_decay: settings.overlapCreditDecay,
    host_cache_hit_weight: settings.hostCacheHitWeight,
    disk_cache_hit_weight: settings.diskCacheHitWeight,
    shared_cache_multiplier: settings.sharedCacheMultiplier,
    credit_decay: decay,
    credit_blocks: credit,
    raw_prefill_blocks: raw,
    prefill_blocks: Math.max(raw - credit, 0),
    active_blocks: candidates.activeBlocks[row] ?? 0,
    new_blocks: candidates.newBlocks[row] ?? 0,
    decode_blocks: decodeBlocks(candidates, row),
    preference: candidates.preference[row] ?? 1,
  };
}
