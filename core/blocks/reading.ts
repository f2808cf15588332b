import { type Arena, slotStates } from './arena.ts';
import { BlockError } from './block-error.ts';
import type { BlockStore } from './block-store.ts';
import { digestWords } from './block-table.ts';
import type { Holder } from './holders.ts';
import { none } from './slot-lists.ts';
import { type TierIndex, warmestFirst } from './tiers.ts';

/** A block that no tier has, in a column of tiers. */
export const nowhere = 255;

/** Blocks that stay where they are until the lease is released or its holder is gone. */
export interface Lease {
  readonly id: number;
  readonly tier: TierIndex;
  readonly arena: number;
  readonly epoch: number;
  /** Index of each block in the column that was asked for. */
  readonly blocks: Uint32Array;
  readonly slots: Uint32Array;
  readonly generations: Uint32Array;
  /** Of the bytes, as low and high word. */
  readonly checksums: Uint32Array;
  /** Bytes of each block. */
  readonly sizes: Uint32Array;
}

/** Warmest tier of each block from the first on, to the first that no tier has. */
export function matchPrefix(store: BlockStore, namespace: number, digests: Uint32Array): Uint8Array {
  const found = new Uint8Array(digests.length / digestWords);
  let count = 0;
  for (; count < found.length; count++) {
    const tier = locate(store, namespace, digests, count);
    if (tier === nowhere) break;
    found[count] = tier;
  }
  store.counters.matchedBlocks += count;
  store.counters.missedBlocks += found.length - count;
  return found.subarray(0, count);
}

/** Warmest tier of each block, wherever it is in the column; `nowhere` for what no tier has. */
export function scanBlocks(store: BlockStore, namespace: number, digests: Uint32Array): Uint8Array {
  const found = new Uint8Array(digests.length / digestWords);
  for (let block = 0; block < found.length; block++) found[block] = locate(store, namespace, digests, block);
  return found;
}

/** Keeps those of the named blocks that the tier has from going. The result may be without any. */
export function pin(
  store: BlockStore,
  holder: Holder,
  id: number,
  tier: TierIndex,
  namespace: number,
  digests: Uint32Array,
  wanted: Iterable<number>,
): Lease {
  const index = store.namespaces.get(namespace).arena;
  const arena = store.arena(tier, index);
  const blocks: number[] = [];
  const slots: number[] = [];
  for (const block of wanted) {
    const row = store.table.find(namespace, digests, block);
    const slot = row === none ? none : store.table.slotOf(row, tier);
    if (slot === none) continue;
    if (arena.pins[slot] === 0) arena.policy.remove(slot);
    arena.pins[slot] = (arena.pins[slot] ?? 0) + 1;
    arena.policy.used(store.table.digestWord(row, 0), store.table.digestWord(row, 1));
    blocks.push(block);
    slots.push(slot);
  }
  holder.leases.add(id);
  return {
    id,
    tier,
    arena: index,
    epoch: arena.epoch,
    blocks: Uint32Array.from(blocks),
    slots: Uint32Array.from(slots),
    generations: Uint32Array.from(slots, (slot) => arena.generationOf(slot)),
    checksums: Uint32Array.from({ length: 2 * slots.length }, (_, at) => arena.checksums[checksumAt(slots, at)] ?? 0),
    sizes: Uint32Array.from(slots, (slot) => arena.sizes[slot] ?? 0),
  };
}

/** Readers of a lease are done. Last blocks first, so that the end of a prompt goes before its beginning. */
export function unpin(store: BlockStore, lease: Lease): void {
  const arena = store.arena(lease.tier, lease.arena);
  for (let at = lease.slots.length - 1; at >= 0; at--) {
    const slot = lease.slots[at] ?? 0;
    const pins = (arena.pins[slot] ?? 0) - 1;
    arena.pins[slot] = pins;
    if (pins > 0) continue;
    if (arena.stateOf(slot) === slotStates.doomed) store.reset(lease.tier, lease.arena, arena, slot);
    else store.idle(arena, slot);
  }
}

/** What a reader must compare after it has copied a slot's bytes. */
export interface ReadCheck {
  readonly epoch: number;
  /** The slot's generation in the shared memory, read after the copy. */
  readonly generation: number;
  /** Checksum of the copied bytes, as low and high word. */
  readonly low: number;
  readonly high: number;
}

/**
 * Whether the bytes that a reader copied are the block's: the pin keeps the slot from being reused while its holder is
 * attached, and a reader that was thought dead and wakes sees here that the slot went on without it.
 */
export function isSound(lease: Lease, at: number, seen: ReadCheck): boolean {
  return (
    seen.epoch === lease.epoch &&
    seen.generation === lease.generations[at] &&
    seen.low === lease.checksums[2 * at] &&
    seen.high === lease.checksums[2 * at + 1]
  );
}

/** Throws BlockError `unknown_lease` when the holder does not have it (any more). */
export function leaseOf(leases: ReadonlyMap<number, Lease>, holder: Holder, id: number): Lease {
  const lease = leases.get(id);
  if (lease === undefined || !holder.leases.has(id))
    throw new BlockError('unknown_lease', `holder ${holder.id} has no lease ${id}`, { holder: holder.id, lease: id });
  return lease;
}

/** Drops a block whose bytes were found to be wrong, or that must go for another reason. False when the tier lacks it. */
export function drop(store: BlockStore, tier: TierIndex, index: number, arena: Arena, slot: number): boolean {
  if (arena.stateOf(slot) !== slotStates.registered) return false;
  store.withdraw(tier, arena, slot);
  if ((arena.pins[slot] ?? 0) > 0) arena.setState(slot, slotStates.doomed);
  else store.reset(tier, index, arena, slot);
  return true;
}

function locate(store: BlockStore, namespace: number, digests: Uint32Array, block: number): number {
  const row = store.table.find(namespace, digests, block);
  if (row === none) return nowhere;
  for (const tier of warmestFirst) if (store.table.slotOf(row, tier) !== none) return tier;
  return nowhere;
}

function checksumAt(slots: readonly number[], at: number): number {
  return 2 * (slots[at >> 1] ?? 0) + (at & 1);
}
