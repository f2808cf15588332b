import { type Arena, slotStates } from './arena.ts';
import { BlockError } from './block-error.ts';
import type { BlockStore } from './block-store.ts';
import { type BlockChain, checkChain } from './chain.ts';
import { priorityLevels } from './eviction/policy.ts';
import type { Holder } from './holders.ts';
import { none } from './slot-lists.ts';
import type { TierIndex } from './tiers.ts';

/** Slots that a holder may write into, and what it must name to commit them. */
export interface Reservation {
  readonly tier: TierIndex;
  readonly arena: number;
  readonly epoch: number;
  /** Index in the chain of the block of each slot; blocks that the tier has already are left out. */
  readonly blocks: Uint32Array;
  readonly slots: Uint32Array;
  readonly generations: Uint32Array;
}

/** Written slots, by the tickets that their reservation gave. */
export interface Commit {
  readonly tier: TierIndex;
  readonly arena: number;
  readonly epoch: number;
  readonly slots: Uint32Array;
  readonly generations: Uint32Array;
  /** Checksum of each block's bytes, as low and high word. */
  readonly checksums: Uint32Array;
  /** Bytes of each block; unset: all that the layout has. */
  readonly sizes?: Uint32Array;
}

/** What became of one slot of a commit. */
export const commitOutcomes = {
  /** Others find the block in this slot from now on. */
  registered: 0,
  /** Another copy was there first; the slot is free again. */
  duplicate: 1,
  /** The slot has another owner, another generation or another state: nothing was done. */
  refused: 2,
  /** The right to commit was taken back meanwhile (a purge); the slot is free again. */
  revoked: 3,
  /** Written, and kept from others until it is registered. */
  completed: 4,
} as const;

export type CommitOutcome = (typeof commitOutcomes)[keyof typeof commitOutcomes];

/**
 * Reserves a slot for every block of the chain that the tier lacks, evicting where it must, all or nothing. Blocks of the
 * chain that are there already are kept over those of others. Throws BlockError `arena_full`, `quota_exceeded` (of the
 * tenant), `invalid_chain`, `unknown_arena`.
 */
export function reserve(
  store: BlockStore,
  holder: Holder,
  tier: TierIndex,
  chain: BlockChain,
  priority: number,
): Reservation {
  checkChain(chain);
  if (!Number.isInteger(priority) || priority < 0 || priority >= priorityLevels)
    throw new BlockError('invalid_chain', `priority ${priority} is not from 0 to ${priorityLevels - 1}`);
  const index = store.namespaces.get(chain.namespace).arena;
  const arena = store.arena(tier, index);
  const blocks = missing(store, tier, chain);
  const kept = shield(store, tier, arena, chain);
  try {
    makeRoom(store, tier, index, arena, chain.namespace, blocks.length);
  } finally {
    for (let at = kept.length - 1; at >= 0; at--) store.idle(arena, kept[at] ?? 0);
  }
  const slots = takeSlots(store, holder, tier, arena, chain, priority, blocks);
  const generations = slots.map((slot) => arena.generationOf(slot));
  store.counters.reserved += slots.length;
  return { tier, arena: index, epoch: arena.epoch, blocks, slots, generations };
}

/** Slots as their reservation named them. */
export type Tickets = Omit<Commit, 'checksums' | 'sizes'>;

/** What was written is whole: its checksums are known. Throws BlockError `stale_epoch` for an earlier life of the memory. */
export function complete(store: BlockStore, holder: Holder, request: Commit): Uint8Array {
  return eachOwn(store, holder, request, (arena, slot, at) => {
    if (arena.stateOf(slot) !== slotStates.partial) return commitOutcomes.refused;
    arena.checksums[2 * slot] = request.checksums[2 * at] ?? 0;
    arena.checksums[2 * slot + 1] = request.checksums[2 * at + 1] ?? 0;
    arena.sizes[slot] = request.sizes?.[at] ?? arena.blockBytes;
    arena.setState(slot, slotStates.complete);
    return commitOutcomes.completed;
  });
}

/** Lets others find what is complete. Throws BlockError `stale_epoch`. */
export function register(store: BlockStore, holder: Holder, request: Tickets): Uint8Array {
  const { tier, arena: index } = request;
  const published: number[] = [];
  const outcomes = eachOwn(store, holder, request, (arena, slot) => {
    if (arena.stateOf(slot) !== slotStates.complete) return commitOutcomes.refused;
    if (store.table.slotOf(arena.rows[slot] ?? none, tier) !== none) {
      store.reset(tier, index, arena, slot);
      store.counters.duplicates++;
      return commitOutcomes.duplicate;
    }
    store.publish(tier, arena, slot);
    published.push(slot);
    return commitOutcomes.registered;
  });
  store.settle(tier, store.arena(tier, index), published);
  store.counters.registered += published.length;
  store.byTier.registered[tier] += published.length;
  return outcomes;
}

function eachOwn(
  store: BlockStore,
  holder: Holder,
  request: Tickets,
  advance: (arena: Arena, slot: number, at: number) => CommitOutcome,
): Uint8Array {
  const arena = epochOf(store, request);
  const outcomes = new Uint8Array(request.slots.length);
  for (const [at, slot] of request.slots.entries()) {
    let outcome: CommitOutcome = commitOutcomes.refused;
    if (isOwn(arena, holder, slot, request.generations[at] ?? 0)) {
      outcome = arena.stateOf(slot) === slotStates.revoked ? commitOutcomes.revoked : advance(arena, slot, at);
      if (outcome === commitOutcomes.revoked) store.reset(request.tier, request.arena, arena, slot);
    }
    if (outcome === commitOutcomes.refused) store.counters.refusedCommits++;
    outcomes[at] = outcome;
  }
  return outcomes;
}

/** Gives up slots that were reserved. Returns how many of them were the holder's to give up. */
export function abort(store: BlockStore, holder: Holder, request: Tickets): number {
  const arena = epochOf(store, request);
  let aborted = 0;
  for (const [at, slot] of request.slots.entries()) {
    if (!isOwn(arena, holder, slot, request.generations[at] ?? 0)) continue;
    store.reset(request.tier, request.arena, arena, slot);
    aborted++;
  }
  store.counters.aborted += aborted;
  return aborted;
}

/** Takes back a holder's right to commit anything; its slots wait until `freeWrites`, because it may still write. */
export function revokeWrites(store: BlockStore, holder: Holder): void {
  for (const { arena } of store.arenas())
    for (let slot = writingFirst(arena, holder); slot !== none; slot = arena.lists.after(slot))
      revoke(store, arena, slot);
}

/** Frees every slot that a holder was writing into. Only for one that cannot write any more. */
export function freeWrites(store: BlockStore, holder: Holder): void {
  for (const { tier, index, arena } of store.arenas())
    for (let slot = writingFirst(arena, holder); slot !== none; slot = writingFirst(arena, holder)) {
      store.reset(tier, index, arena, slot);
      store.counters.aborted++;
    }
}

/** Takes back the right to commit blocks of one tenant. */
export function revokeTenant(store: BlockStore, arena: Arena, holder: Holder, tenant: number): void {
  for (let slot = writingFirst(arena, holder); slot !== none; slot = arena.lists.after(slot))
    if (arena.tenants[slot] === tenant) revoke(store, arena, slot);
}

/** The slot keeps its writer and loses its block. */
function revoke(store: BlockStore, arena: Arena, slot: number): void {
  store.forget(arena, slot);
  arena.setState(slot, slotStates.revoked);
}

/** Slots that a holder may be writing into. */
export function writingCount(store: BlockStore, holder: Holder): number {
  return [...store.arenas()].reduce((sum, { arena }) => sum + arena.lists.sizeOf(2 * holder.index + 1), 0);
}

/** Makes free slots of an arena that is not open a holder's, without a right to commit. Throws BlockError `not_recovering`. */
export function withhold(
  store: BlockStore,
  holder: Holder,
  tier: TierIndex,
  index: number,
  slots: Iterable<number>,
): void {
  const arena = store.arena(tier, index);
  if (arena.isOpen) throw new BlockError('not_recovering', `arena ${index} of tier ${tier} is open already`);
  for (const slot of slots) {
    if (slot >= arena.blocks || arena.stateOf(slot) !== slotStates.reset) continue;
    arena.setState(slot, slotStates.revoked);
    arena.lists.append(2 * holder.index + 1, slot);
    store.charge(tier, index, arena.tenants[slot] ?? 0, 1);
  }
}

function writingFirst(arena: Arena, holder: Holder): number {
  return arena.lists.first(2 * holder.index + 1);
}

function epochOf(store: BlockStore, { tier, arena: index, epoch }: Tickets): Arena {
  const arena = store.arena(tier, index);
  if (arena.epoch === epoch) return arena;
  throw new BlockError('stale_epoch', `epoch ${epoch} is over, now it is ${arena.epoch}`, { epoch, now: arena.epoch });
}

function isOwn(arena: Arena, holder: Holder, slot: number, generation: number): boolean {
  return arena.lists.listOf(slot) === 2 * holder.index + 1 && arena.generationOf(slot) === generation;
}

function missing(store: BlockStore, tier: TierIndex, chain: BlockChain): Uint32Array {
  const blocks = new Uint32Array(chain.sequenceHashes.length);
  let count = 0;
  for (let block = 0; block < blocks.length; block++) {
    const row = store.table.find(chain.namespace, chain.digests, block);
    if (row === none || store.table.slotOf(row, tier) === none) blocks[count++] = block;
  }
  return blocks.slice(0, count);
}

/** Takes the chain's own blocks, and the one before them, out of what may go; returns those that were in it. */
function shield(store: BlockStore, tier: TierIndex, arena: Arena, chain: BlockChain): number[] {
  const kept: number[] = [];
  const keep = (row: number): void => {
    const slot = row === none ? none : store.table.slotOf(row, tier);
    if (slot !== none && arena.policy.remove(slot)) kept.push(slot);
  };
  if (chain.parent !== null) keep(store.table.find(chain.namespace, chain.parent.digest, 0));
  for (let block = 0; block < chain.sequenceHashes.length; block++)
    keep(store.table.find(chain.namespace, chain.digests, block));
  return kept;
}

function makeRoom(
  store: BlockStore,
  tier: TierIndex,
  index: number,
  arena: Arena,
  namespace: number,
  wanted: number,
): void {
  const tenant = store.namespaces.tenantOf(namespace);
  const quota = store.quota(tier, namespace);
  while (store.share(tier, index, tenant) + wanted > quota) {
    const slot = wanted > quota ? none : ownVictim(arena, tenant);
    if (slot === none) {
      store.counters.refusedQuota++;
      const facts = { wanted, quota, held: store.share(tier, index, tenant) };
      throw new BlockError('quota_exceeded', `${wanted} blocks more exceed the tenant's ${quota}`, facts);
    }
    store.evict(tier, index, arena, slot);
    store.counters.evictedByQuota++;
  }
  // What cannot succeed evicts nothing.
  for (let possible = arena.free + arena.policy.size >= wanted; arena.free < wanted; ) {
    const slot = possible ? arena.policy.victim() : none;
    possible = slot !== none;
    if (possible) {
      store.evict(tier, index, arena, slot);
      continue;
    }
    store.counters.refusedFull++;
    throw new BlockError('arena_full', `${wanted} blocks wanted, ${arena.free} free and no other may go`, {
      wanted,
      free: arena.free,
      blocks: arena.blocks,
    });
  }
}

/** A tenant's block that is unused for longest among those that may go. */
function ownVictim(arena: Arena, tenant: number): number {
  let slot = arena.lists.first(2 * tenant);
  while (slot !== none && !arena.policy.mayGo(slot)) slot = arena.lists.after(slot);
  return slot;
}

function takeSlots(
  store: BlockStore,
  holder: Holder,
  tier: TierIndex,
  arena: Arena,
  chain: BlockChain,
  priority: number,
  blocks: Uint32Array,
): Uint32Array {
  const { namespace, startBlock, digests, sequenceHashes, parent } = chain;
  const tenant = store.namespaces.tenantOf(namespace);
  const { arena: index } = store.namespaces.get(namespace);
  const slots = new Uint32Array(blocks.length);
  // The row before is referred to while its child is, so that a chain can be linked block by block.
  let before = none;
  if (parent !== null)
    before = store.table.refer(namespace, parent.digest, 0, parent.sequenceHash, none, startBlock - 1);
  let next = 0;
  for (let block = 0; block < sequenceHashes.length; block++) {
    const hash = sequenceHashes[block] ?? 0n;
    const row = store.table.refer(namespace, digests, block, hash, before, startBlock + block);
    if (before !== none) store.table.release(before);
    before = row;
    if (blocks[next] !== block) continue;
    const slot = arena.take();
    slots[next++] = slot;
    arena.rows[slot] = store.table.refer(namespace, digests, block, hash, none, startBlock + block);
    arena.priorities[slot] = priority;
    arena.tenants[slot] = tenant;
    store.charge(tier, index, tenant, 1);
    arena.lists.append(2 * holder.index + 1, slot);
  }
  if (before !== none) store.table.release(before);
  return slots;
}
