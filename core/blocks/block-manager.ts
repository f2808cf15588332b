import { slotStates } from './arena.ts';
import { BlockError } from './block-error.ts';
import { type BlockCounters, BlockStore, type BlockStoreSpec, type LayoutArenas } from './block-store.ts';
import { type BlockChain, checkChain } from './chain.ts';
import type { TierChange } from './event-log.ts';
import { type Holder, Holders } from './holders.ts';
import { type BlockInfo, blockIn, slotsOfTenant } from './listing.ts';
import type { Namespace } from './namespaces.ts';
import { drop, type Lease, leaseOf, matchPrefix, pin, scanBlocks, unpin } from './reading.ts';
import { none } from './slot-lists.ts';
import { snapshot } from './snapshot.ts';
import { type TierIndex, warmestFirst } from './tiers.ts';
import {
  abort,
  type Commit,
  commitOutcomes,
  complete,
  freeWrites,
  type Reservation,
  register,
  reserve,
  revokeTenant,
  revokeWrites,
  type Tickets,
  withhold,
  writingCount,
} from './writing.ts';

/** How full an arena is, in slots. */
export interface ArenaUse {
  readonly tier: TierIndex;
  readonly arena: number;
  readonly blocks: number;
  readonly blockBytes: number;
  readonly free: number;
  /** Being written. */
  readonly partial: number;
  readonly registered: number;
  /** Of the registered ones, those that nobody reads. */
  readonly evictable: number;
  /** Purged or dropped while someone reads them. */
  readonly doomed: number;
  /** Their writer lost the right to commit and may still write. */
  readonly revoked: number;
}

/** A block of an earlier life of a tier, from a record that was verified. */
export interface AdoptedBlock {
  readonly slot: number;
  /** Generation that the record carries. */
  readonly generation: number;
  readonly priority: number;
  readonly checksumLow: number;
  readonly checksumHigh: number;
  /** Bytes; unset: all that the layout has. */
  readonly size?: number;
  /** The one block. */
  readonly chain: BlockChain;
}

/**
 * Where the KV blocks of one node are, who writes and reads them, and which go when others come. It moves no bytes: who
 * reserves a slot fills it and commits, who pins one copies it and releases.
 */
export class BlockManager {
  readonly #store: BlockStore;
  readonly #holders = new Holders();
  readonly #leases = new Map<number, Lease>();
  #nextLease = 1;

  constructor(spec: BlockStoreSpec) {
    this.#store = new BlockStore(spec);
  }

  /** Index by which a new layout is known in every tier. */
  addLayout(arenas: LayoutArenas): number {
    return this.#store.addLayout(arenas);
  }

  /** Number by which calls name a namespace. Throws BlockError `unknown_namespace`. */
  namespace(namespace: Namespace): number {
    return this.#store.namespaces.number(namespace);
  }

  /** Who reserves or pins must be attached; the id is never used again. */
  attach(): number {
    return this.#holders.attach().id;
  }

  /**
   * A holder's stream ended. Its reads and its right to commit end at once. Slots that it was writing into are free at
   * once only if it is proven that it cannot write any more (process dead, memory unmapped); otherwise they wait for a
   * second call with that proof. Time alone proves nothing.
   */
  detach(id: number, isProvenDead: boolean): void {
    const holder = this.#holders.find(id);
    if (holder === undefined) return;
    for (const lease of holder.leases) this.#end(holder, lease);
    if (isProvenDead) {
      freeWrites(this.#store, holder);
      this.#holders.forget(holder);
    } else {
      revokeWrites(this.#store, holder);
      holder.lost = true;
    }
  }

  /** Warmest tier of each block of a prompt, to the first that no tier has. */
  match(namespace: number, digests: Uint32Array): Uint8Array {
    return matchPrefix(this.#store, namespace, digests);
  }

  /** Warmest tier of each block, `nowhere` for those that no tier has. */
  scan(namespace: number, digests: Uint32Array): Uint8Array {
    return scanBlocks(this.#store, namespace, digests);
  }

  /** See `reserve` in writing.ts. */
  reserve(holder: number, tier: TierIndex, chain: BlockChain, priority = 0): Reservation {
    return reserve(this.#store, this.#holders.acting(holder), tier, chain, priority);
  }

  /** What was written is whole, and not to be found yet. Outcome of each slot, as `commitOutcomes` names them. */
  complete(holder: number, request: Commit): Uint8Array {
    return complete(this.#store, this.#holders.acting(holder), request);
  }

  /** Lets others find what is complete. */
  register(holder: number, request: Tickets): Uint8Array {
    return register(this.#store, this.#holders.acting(holder), request);
  }

  /** Completes and registers in one go; `beforeFound` is told the slots whose blocks are whole before others find them. */
  commit(holder: number, request: Commit, beforeFound?: (slots: Uint32Array) => void): Uint8Array {
    const completed = this.complete(holder, request);
    const tickets = pickTickets(request, completed);
    beforeFound?.(tickets.slots);
    const registered = this.register(holder, tickets);
    let next = 0;
    return completed.map((outcome) => (outcome === commitOutcomes.completed ? (registered[next++] ?? 0) : outcome));
  }

  /** Gives reserved slots back unwritten; returns how many were the holder's. */
  abort(holder: number, request: Tickets): number {
    return abort(this.#store, this.#holders.acting(holder), request);
  }

  /** Keeps blocks in place for a reader: those of `wanted` (indexes into the digests) that the tier has. */
  pin(holder: number, tier: TierIndex, namespace: number, digests: Uint32Array, wanted: Iterable<number>): Lease {
    const id = this.#nextLease++;
    const lease = pin(this.#store, this.#holders.acting(holder), id, tier, namespace, digests, wanted);
    this.#leases.set(id, lease);
    return lease;
  }

  /** Throws BlockError `unknown_lease`. */
  release(holder: number, lease: number): void {
    const owner = this.#holders.acting(holder);
    leaseOf(this.#leases, owner, lease);
    this.#end(owner, lease);
  }

  /** Evicts up to so many blocks, as the policy orders them; returns how many went. */
  evict(tier: TierIndex, arenaIndex: number, blocks: number): number {
    const arena = this.#store.arena(tier, arenaIndex);
    let evicted = 0;
    for (let slot = arena.policy.victim(); slot !== none && evicted < blocks; slot = arena.policy.victim()) {
      this.#store.evict(tier, arenaIndex, arena, slot);
      evicted++;
    }
    return evicted;
  }

  /** Drops one block from a tier because its bytes are wrong or gone; readers of it keep its slot from being reused. */
  drop(tier: TierIndex, namespace: number, digests: Uint32Array, block: number): boolean {
    const row = this.#store.table.find(namespace, digests, block);
    const slot = row === none ? none : this.#store.table.slotOf(row, tier);
    const arena = this.#store.arenaOf(tier, namespace);
    if (slot === none || arena === undefined) return false;
    return drop(this.#store, tier, this.#store.namespaces.get(namespace).arena, arena, slot);
  }

  /**
   * Drops every block of a tenant in every tier, also those that are being written: their commits are refused. Returns how
   * many blocks went. Slots under a reader are reused when it is done, and nobody finds them meanwhile.
   */
  purge(tenant: string): number {
    const store = this.#store;
    const number = store.namespaces.tenant(tenant);
    if (number === none) return 0;
    let purged = 0;
    for (const { tier, index, arena } of store.arenas()) {
      const list = 2 * number;
      for (let slot = arena.lists.first(list); slot !== none; slot = arena.lists.first(list))
        if (drop(store, tier, index, arena, slot)) purged++;
      for (const holder of this.#holders.all()) revokeTenant(store, arena, holder, number);
    }
    store.counters.purged += purged;
    return purged;
  }

  /**
   * Takes a block over that an earlier life of the tier left; false when the slot is taken or the tier has the block.
   * Blocks count as used in the order in which they are adopted.
   */
  adopt(tier: TierIndex, block: AdoptedBlock): boolean {
    const { chain, slot } = block;
    checkChain(chain);
    const store = this.#store;
    const index = store.namespaces.get(chain.namespace).arena;
    const arena = store.arena(tier, index);
    if (arena.isOpen) throw new BlockError('not_recovering', `arena ${index} of tier ${tier} is open already`);
    const known = store.table.find(chain.namespace, chain.digests, 0);
    const isThere = known !== none && store.table.slotOf(known, tier) !== none;
    if (slot < 0 || slot >= arena.blocks || arena.stateOf(slot) !== slotStates.reset || isThere) return false;
    const { parent, startBlock, namespace, digests, sequenceHashes } = chain;
    const before =
      parent === null
        ? none
        : store.table.refer(namespace, parent.digest, 0, parent.sequenceHash, none, startBlock - 1);
    arena.rows[slot] = store.table.refer(namespace, digests, 0, sequenceHashes[0] ?? 0n, before, startBlock);
    if (before !== none) store.table.release(before);
    arena.generations[slot] = block.generation;
    arena.checksums.set([block.checksumLow, block.checksumHigh], 2 * slot);
    arena.sizes[slot] = block.size ?? arena.blockBytes;
    arena.priorities[slot] = block.priority;
    arena.tenants[slot] = store.namespaces.tenantOf(namespace);
    store.charge(tier, index, arena.tenants[slot] ?? 0, 1);
    store.publish(tier, arena, slot);
    store.idle(arena, slot);
    return true;
  }

  /**
   * Ends the recovery of a tier, or of one arena of it: what nothing was adopted into is free. Whoever follows the events
   * needs a snapshot.
   */
  open(tier: TierIndex, only?: number): void {
    for (const { tier: of, index, arena } of this.#store.arenas())
      if (of === tier && (only === undefined || only === index)) arena.open();
    this.#store.events.lose();
  }

  /**
   * Keeps slots of an arena that is not open yet from being used, as if the holder were writing into them: its process may
   * still do so from an earlier life of the manager. `detach` with proof of its end frees them.
   */
  withhold(holder: number, tier: TierIndex, arena: number, slots: Iterable<number>): void {
    withhold(this.#store, this.#holders.acting(holder), tier, arena, slots);
  }

  /** Slots that a holder may be writing into. */
  writing(holder: number): number {
    const found = this.#holders.find(holder);
    return found === undefined ? 0 : writingCount(this.#store, found);
  }

  /** Changes of presence since the last call, in order; null when they were too many and a snapshot must be sent. */
  takeEvents(): TierChange[] | null {
    return this.#store.events.take();
  }

  /** What is in every tier now; drops the changes that it covers. */
  snapshot(): Generator<TierChange[]> {
    return snapshot(this.#store);
  }

  /** What a slot holds or is reserved for; undefined when it is nobody's. */
  block(tier: TierIndex, arena: number, slot: number): BlockInfo | undefined {
    return blockIn(this.#store, tier, this.#store.arena(tier, arena), slot);
  }

  /** The slot that holds the block in a tier; -1 when the tier lacks it. */
  slotOf(tier: TierIndex, namespace: number, digests: Uint32Array, block: number): number {
    const row = this.#store.table.find(namespace, digests, block);
    return row === none ? none : this.#store.table.slotOf(row, tier);
  }

  /** Whether nobody has the slot: not for a block, not to write into it, not to read what was dropped. */
  isFree(tier: TierIndex, arena: number, slot: number): boolean {
    return this.#store.arena(tier, arena).stateOf(slot) === slotStates.reset;
  }

  /** Slots that a tenant has in an arena, whatever their state. */
  tenantSlots(tier: TierIndex, arena: number, tenant: string): number[] {
    return slotsOfTenant(this.#store, this.#store.arena(tier, arena), tenant);
  }

  /** Namespaces that have numbers; they are below this. */
  get namespaces(): number {
    return this.#store.namespaces.count;
  }

  /** What a number stands for. Throws BlockError `unknown_namespace`. */
  namespaceAt(number: number): Namespace {
    return this.#store.namespaces.get(number);
  }

  /** Number of the namespace with that digest; -1 when none has it. */
  findNamespace(digest: string): number {
    return this.#store.namespaces.find(digest);
  }

  /** Counters that tell tiers apart. */
  get tierCounters(): Readonly<Record<'registered' | 'evicted', readonly number[]>> {
    return this.#store.byTier;
  }

  get counters(): Readonly<BlockCounters> {
    return this.#store.counters;
  }

  /** Records of blocks, those included that only children or writers name. */
  get records(): number {
    return this.#store.table.count;
  }

  /** Leases that are not released. */
  get leases(): number {
    return this.#leases.size;
  }

  /** Memory of all columns in bytes. */
  get bytes(): number {
    return this.#store.bytes;
  }

  /** Slots that a tenant has in an arena. */
  tenantBlocks(tier: TierIndex, arena: number, tenant: string): number {
    return this.#store.share(tier, arena, this.#store.namespaces.tenant(tenant));
  }

  use(): ArenaUse[] {
    return [...this.#store.arenas()].map(({ tier, index, arena }) => ({
      tier,
      arena: index,
      blocks: arena.blocks,
      blockBytes: arena.blockBytes,
      free: arena.free,
      partial: arena.count(slotStates.partial),
      registered: arena.count(slotStates.registered),
      evictable: arena.policy.size,
      doomed: arena.count(slotStates.doomed),
      revoked: arena.count(slotStates.revoked),
    }));
  }

  /** Tiers that have an arena for the namespace's layout, warmest first. */
  tiersOf(namespace: number): TierIndex[] {
    return warmestFirst.filter((tier) => this.#store.arenaOf(tier, namespace) !== undefined);
  }

  #end(holder: Holder, id: number): void {
    const lease = this.#leases.get(id);
    if (lease !== undefined) unpin(this.#store, lease);
    this.#leases.delete(id);
    holder.leases.delete(id);
  }
}

/** Tickets of the slots that a step completed. */
function pickTickets(request: Commit, outcomes: Uint8Array): Tickets {
  const isCompleted = (_: number, at: number): boolean => outcomes[at] === commitOutcomes.completed;
  const { tier, arena, epoch, slots, generations } = request;
  return { tier, arena, epoch, slots: slots.filter(isCompleted), generations: generations.filter(isCompleted) };
}
