/** When a worker counts as busy; unset limits are off. */
export interface Thresholds {
  /** Fraction of its KV blocks in use, 0 to 1. */
  readonly activeDecodeBlocks?: number | undefined;
  /** Prompt tokens not computed. */
  readonly activePrefillTokens?: number | undefined;
  /** The same as a fraction of the tokens of one pass. */
  readonly activePrefillTokensFraction?: number | undefined;
}

export interface RankUse {
  /** KV blocks in use, by the worker's report or the router's own count, whichever is higher. */
  readonly activeBlocks: number;
  readonly totalBlocks: number;
  readonly activePrefillTokens: number;
  /** Most tokens of one pass; 0: not known, ten million is assumed. */
  readonly maxBatchedTokens: number;
}

const assumedBatchedTokens = 10_000_000;

/** Which threshold a rank exceeds, in words; null: none. */
export function busyReason(use: RankUse, thresholds: Thresholds): string | null {
  const { activeDecodeBlocks, activePrefillTokens, activePrefillTokensFraction } = thresholds;
  if (
    activeDecodeBlocks !== undefined &&
    use.totalBlocks > 0 &&
    use.activeBlocks > activeDecodeBlocks * use.totalBlocks
  )
    return `${use.activeBlocks} of ${use.totalBlocks} KV blocks are in use, over the threshold of ${activeDecodeBlocks}`;
  if (activePrefillTokens !== undefined && use.activePrefillTokens > activePrefillTokens)
    return `${use.activePrefillTokens} prompt tokens wait, over the threshold of ${activePrefillTokens}`;
  const batch = use.maxBatchedTokens > 0 ? use.maxBatchedTokens : assumedBatchedTokens;
  if (activePrefillTokensFraction !== undefined && use.activePrefillTokens > activePrefillTokensFraction * batch)
    return `${use.activePrefillTokens} prompt tokens wait, over ${activePrefillTokensFraction} of a pass of ${batch}`;
  return null;
}

/** Why a worker is busy, from why each of its ranks is: only if all are, since a request may go to any. Null: it is not. */
export function workerBusyReason(ofRanks: readonly (string | null)[]): string | null {
  return ofRanks.includes(null) ? null : (ofRanks[0] ?? null);
}
