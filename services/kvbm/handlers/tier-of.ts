import { type TierIndex, warmestFirst } from '#core/blocks/tiers.ts';
import { BlockTier } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { wireTiers } from '../names.ts';

/** Tiers that a call means: one, or all where none is stated. Throws StatorError. */
export function tiersOf(tier: BlockTier): readonly TierIndex[] {
  return tier === BlockTier.UNSPECIFIED ? warmestFirst : [tierOf(tier)];
}

export function tierOf(tier: BlockTier): TierIndex {
  const found = warmestFirst.find((index) => wireTiers[index] === tier);
  if (found === undefined) throw StatorError.invalid('tier', 'It must be HOST, DISK or OBJECT.');
  return found;
}
