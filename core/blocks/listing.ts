import { type Arena, slotStates } from './arena.ts';
import type { BlockStore } from './block-store.ts';
import { digestWords } from './block-table.ts';
import type { ChainParent } from './chain.ts';
import { none } from './slot-lists.ts';
import type { TierIndex } from './tiers.ts';

/** What is known of the block in a slot. */
export interface BlockInfo {
  readonly namespace: number;
  /** 4 words. */
  readonly digest: Uint32Array;
  readonly sequenceHash: bigint;
  /** Index in its prompt. */
  readonly position: number;
  /** The block before it; null for the first of a prompt. */
  readonly parent: ChainParent | null;
  readonly priority: number;
  readonly pins: number;
  readonly generation: number;
  /** Found by others; otherwise it is being written. */
  readonly isRegistered: boolean;
  readonly size: number;
  readonly checksumLow: number;
  readonly checksumHigh: number;
  /** Slot in each tier, -1 where it is not. */
  readonly slots: readonly [host: number, disk: number, object: number];
}

export function blockIn(store: BlockStore, tier: TierIndex, arena: Arena, slot: number): BlockInfo | undefined {
  const { table } = store;
  const row = slot < arena.blocks ? (arena.rows[slot] ?? none) : none;
  if (row === none) return undefined;
  const parent = table.parentOf(row);
  return {
    namespace: table.namespaceOf(row),
    digest: digestOf(store, row),
    sequenceHash: table.sequenceHashOf(row),
    position: table.positionOf(row),
    parent: parent === none ? null : { digest: digestOf(store, parent), sequenceHash: table.sequenceHashOf(parent) },
    priority: arena.priorities[slot] ?? 0,
    pins: arena.pins[slot] ?? 0,
    generation: arena.generationOf(slot),
    isRegistered: arena.stateOf(slot) === slotStates.registered && table.slotOf(row, tier) === slot,
    size: arena.sizes[slot] ?? 0,
    checksumLow: arena.checksums[2 * slot] ?? 0,
    checksumHigh: arena.checksums[2 * slot + 1] ?? 0,
    slots: [table.slotOf(row, 0), table.slotOf(row, 1), table.slotOf(row, 2)],
  };
}

export function slotsOfTenant(store: BlockStore, arena: Arena, tenant: string): number[] {
  const number = store.namespaces.tenant(tenant);
  const slots: number[] = [];
  for (let slot = 0; slot < arena.blocks; slot++)
    if (arena.stateOf(slot) !== slotStates.reset && arena.tenants[slot] === number) slots.push(slot);
  return slots;
}

function digestOf({ table }: BlockStore, row: number): Uint32Array {
  return Uint32Array.from({ length: digestWords }, (_, word) => table.digestWord(row, word));
}
