import type { TierHits } from '#core/routing/prefill-cost.ts';

/** Stands in the index for the cache that all workers of a model share: no worker has this identifier. */
export const sharedCache = 0n;

/** Blocks from the start of a prompt, whichever tiers they are in. */
export function blocksOf({ deviceBlocks, hostBlocks, diskBlocks, externalBlocks }: TierHits): number {
  return deviceBlocks + hostBlocks + diskBlocks + externalBlocks;
}
