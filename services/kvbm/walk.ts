import type { BlockManager } from '#core/blocks/block-manager.ts';
import type { BlockInfo } from '#core/blocks/listing.ts';
import type { TierIndex } from '#core/blocks/tiers.ts';

/** A block in a slot of a tier. */
export interface PlacedBlock {
  readonly tier: TierIndex;
  readonly layout: number;
  readonly slot: number;
  readonly block: BlockInfo;
}

/** Blocks that are found by others in these tiers, of one model or (empty) of all, slot by slot. */
export function* walk(manager: BlockManager, tiers: readonly TierIndex[], model: string): Generator<PlacedBlock> {
  for (const { tier, arena: layout, blocks } of manager.use()) {
    if (!tiers.includes(tier)) continue;
    for (let slot = 0; slot < blocks; slot++) {
      const block = manager.block(tier, layout, slot);
      if (block?.isRegistered !== true) continue;
      if (model === '' || manager.namespaceAt(block.namespace).model === model) yield { tier, layout, slot, block };
    }
  }
}
