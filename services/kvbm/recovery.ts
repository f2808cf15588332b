import type { BlockManager } from '#core/blocks/block-manager.ts';
import type { BlockHeader, Rejection } from '#core/blocks/record/block-header.ts';
import { tiers } from '#core/blocks/tiers.ts';
import type { Layout } from './layout.ts';
import type { NamespaceBook } from './namespace-book.ts';
import { type Adoption, adoptBlock } from './records.ts';
import type { Slab } from './slab.ts';

/** Why a slot of an earlier life was or was not kept. */
export type Recovered = Adoption | Rejection | 'being_written';

export interface RecoveryOptions {
  readonly manager: BlockManager;
  readonly namespaces: NamespaceBook;
  readonly count: (outcome: Recovered, slots: number) => void;
  /** Holder that stands for the process with that lock, if it still lives; undefined: nobody can write any more. */
  readonly writerOf: (tag: bigint) => number | undefined;
}

/**
 * Adopts what the records in a slab say, those of blocks that were found last in life included; their bytes are still to be
 * compared with the checksums. Slots that a live process may be writing into are withheld. Returns the adopted slots.
 */
export function recoverSlab(layout: Layout, slab: Slab, options: RecoveryOptions): number[] {
  const { manager, namespaces, count, writerOf } = options;
  const found: { slot: number; header: BlockHeader }[] = [];
  const counts = new Map<Recovered, number>();
  const note = (outcome: Recovered): void => void counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
  for (let slot = 0; slot < slab.shape.slots; slot++) {
    const tag = slab.writer(slot);
    const writer = tag === undefined ? undefined : writerOf(tag);
    if (writer !== undefined) {
      manager.withhold(writer, tiers.host, layout.index, [slot]);
      note('being_written');
      continue;
    }
    const { header, rejection } = slab.readRecord(slot);
    if (header !== undefined) found.push({ slot, header });
    else if (rejection !== 'empty') note(rejection);
  }
  // The end of a prompt goes before its beginning: what is adopted first counts as unused for longest.
  found.sort((a, b) => b.header.position - a.header.position);
  const adopted: number[] = [];
  for (const { slot, header } of found) {
    const outcome = adoptBlock(manager, namespaces, layout, tiers.host, { slot, header });
    note(outcome);
    if (outcome === 'adopted') adopted.push(slot);
    else slab.forget(slot);
  }
  for (const [outcome, slots] of counts) count(outcome, slots);
  return adopted;
}
