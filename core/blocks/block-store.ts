import { Arena, type ArenaSpec, slotStates } from './arena.ts';
import { BlockError } from './block-error.ts';
import { BlockTable } from './block-table.ts';
import { EventLog } from './event-log.ts';
import { Namespaces } from './namespaces.ts';
import { none } from './slot-lists.ts';
import { type TierIndex, warmestFirst } from './tiers.ts';

/** Blocks of a tenant in an arena at most. */
export type Quota = (tenant: string, tier: TierIndex, arena: number) => number;

/** Arenas of one layout; a tier without one keeps no blocks of it. */
export type LayoutArenas = readonly [
  host?: ArenaSpec | undefined,
  disk?: ArenaSpec | undefined,
  object?: ArenaSpec | undefined,
];

export interface BlockStoreSpec {
  /** Arenas of each tier (host, disk, object); the same index means the same layout in every tier. More come by `addLayout`. */
  readonly tiers?: readonly [host: readonly ArenaSpec[], disk: readonly ArenaSpec[], object: readonly ArenaSpec[]];
  /** Unset: no tenant is limited. */
  readonly quota?: Quota;
  /** Changes kept for who reads the events. Default 65,536. */
  readonly eventLimit?: number;
}

export interface BlockCounters {
  reserved: number;
  registered: number;
  duplicates: number;
  /** Commits under a generation that was gone, or by someone who did not reserve the slot. */
  refusedCommits: number;
  aborted: number;
  evicted: number;
  evictedByQuota: number;
  purged: number;
  /** Reservations refused because nothing more could go. */
  refusedFull: number;
  refusedQuota: number;
  matchedBlocks: number;
  missedBlocks: number;
}

/** What everything about a node's blocks is kept in: the table, the arenas, the tenants' shares, the events. */
export class BlockStore {
  readonly namespaces = new Namespaces();
  readonly table: BlockTable;
  readonly events: EventLog;
  readonly counters: BlockCounters = {
    reserved: 0,
    registered: 0,
    duplicates: 0,
    refusedCommits: 0,
    aborted: 0,
    evicted: 0,
    evictedByQuota: 0,
    purged: 0,
    refusedFull: 0,
    refusedQuota: 0,
    matchedBlocks: 0,
    missedBlocks: 0,
  };
  /** Some of the counters by tier. */
  readonly byTier = {
    registered: [0, 0, 0] as [number, number, number],
    evicted: [0, 0, 0] as [number, number, number],
  };
  /** By tier and layout. */
  readonly #arenas: readonly (Arena | undefined)[][];
  readonly #quota: Quota;
  /** Slots that each tenant has, by tier and arena. */
  readonly #shares: readonly number[][][];
  #layouts = 0;

  constructor(spec: BlockStoreSpec) {
    const tiers = spec.tiers ?? [[], [], []];
    this.#arenas = warmestFirst.map(() => []);
    this.#shares = warmestFirst.map(() => []);
    this.#quota = spec.quota ?? (() => Number.POSITIVE_INFINITY);
    this.table = new BlockTable(tiers.flat().reduce((sum, arena) => sum + arena.blocks, 0));
    this.events = new EventLog(spec.eventLimit ?? 65_536);
    const layouts = Math.max(...tiers.map((arenas) => arenas.length));
    for (let at = 0; at < layouts; at++) this.addLayout([tiers[0][at], tiers[1][at], tiers[2][at]]);
  }

  /** Index of a new layout with these arenas. */
  addLayout(arenas: LayoutArenas): number {
    for (const tier of warmestFirst) {
      const spec = arenas[tier];
      this.#arenas[tier]?.push(spec && new Arena(spec));
      this.#shares[tier]?.push([]);
    }
    return this.#layouts++;
  }

  /** Throws BlockError `unknown_arena` when the tier has no such arena. */
  arena(tier: TierIndex, arena: number): Arena {
    const found = this.#arenas[tier]?.[arena];
    if (found === undefined) throw new BlockError('unknown_arena', `tier ${tier} has no arena ${arena}`);
    return found;
  }

  /** The arena of a namespace in a tier; undefined when the tier has none for its layout. */
  arenaOf(tier: TierIndex, namespace: number): Arena | undefined {
    return this.#arenas[tier]?.[this.namespaces.get(namespace).arena];
  }

  *arenas(): Generator<{ readonly tier: TierIndex; readonly index: number; readonly arena: Arena }> {
    for (const tier of warmestFirst)
      for (const [index, arena] of (this.#arenas[tier] ?? []).entries())
        if (arena !== undefined) yield { tier, index, arena };
  }

  /** Memory of all columns. */
  get bytes(): number {
    return [...this.arenas()].reduce((sum, { arena }) => sum + arena.bytes, this.table.bytes);
  }

  /** Slots a tenant has in an arena, whatever their state. */
  share(tier: TierIndex, arena: number, tenant: number): number {
    return this.#shares[tier]?.[arena]?.[tenant] ?? 0;
  }

  /** Slots a tenant may have in an arena. */
  quota(tier: TierIndex, namespace: number): number {
    const { tenant, arena } = this.namespaces.get(namespace);
    return this.#quota(tenant, tier, arena);
  }

  charge(tier: TierIndex, arena: number, tenant: number, change: 1 | -1): void {
    const shares = this.#shares[tier]?.[arena];
    if (shares !== undefined) shares[tenant] = (shares[tenant] ?? 0) + change;
  }

  /** Makes a written slot the tier's copy of its block, found by others. `settle` must follow. */
  publish(tier: TierIndex, arena: Arena, slot: number): void {
    const row = arena.rows[slot] ?? none;
    arena.setState(slot, slotStates.registered);
    this.#placed(tier, arena, row, slot);
    arena.policy.used(this.table.digestWord(row, 0), this.table.digestWord(row, 1));
    arena.policy.setParent(slot, this.table.childrenOf(row, tier) > 0);
    const parent = this.table.parentOf(row);
    const parentHash = parent === none ? null : this.table.sequenceHashOf(parent);
    const { table } = this;
    this.events.stored(tier, table.namespaceOf(row), table.sequenceHashOf(row), parentHash, table.positionOf(row));
  }

  /**
   * Lets newly published slots go when their time comes: the end of a prompt before its beginning, and before the blocks
   * that it goes on from, which count as used now.
   */
  settle(tier: TierIndex, arena: Arena, slots: readonly number[]): void {
    for (let at = slots.length - 1; at >= 0; at--) {
      const slot = slots[at] ?? 0;
      this.idle(arena, slot);
      const parent = this.table.parentOf(arena.rows[slot] ?? none);
      if (at > 0 && arena.rows[slots[at - 1] ?? 0] === parent) continue;
      for (let row = parent; row !== none; row = this.table.parentOf(row)) {
        const before = this.table.slotOf(row, tier);
        if (before !== none && arena.policy.remove(before)) this.idle(arena, before);
      }
    }
  }

  /** Nobody finds the tier's copy any more; its slot is still to be reset or doomed. */
  withdraw(tier: TierIndex, arena: Arena, slot: number): void {
    const row = arena.rows[slot] ?? none;
    this.events.removed(tier, this.table.namespaceOf(row), this.table.sequenceHashOf(row));
    this.#placed(tier, arena, row, none);
    arena.policy.remove(slot);
    arena.lists.remove(slot);
    this.forget(arena, slot);
  }

  /** Parts a slot from its block. */
  forget(arena: Arena, slot: number): void {
    const row = arena.rows[slot] ?? none;
    arena.rows[slot] = none;
    if (row !== none) this.table.release(row);
  }

  /** Ends a slot's incarnation and gives it back to its tenant's share. */
  reset(tier: TierIndex, index: number, arena: Arena, slot: number): void {
    this.forget(arena, slot);
    this.charge(tier, index, arena.tenants[slot] ?? 0, -1);
    arena.reset(slot);
  }

  evict(tier: TierIndex, index: number, arena: Arena, slot: number): void {
    this.withdraw(tier, arena, slot);
    this.reset(tier, index, arena, slot);
    this.counters.evicted++;
    this.byTier.evicted[tier]++;
  }

  /** A registered slot that nobody reads (any more) may go, after all others of its priority. */
  idle(arena: Arena, slot: number): void {
    const row = arena.rows[slot] ?? none;
    const [low, high] = [this.table.digestWord(row, 0), this.table.digestWord(row, 1)];
    arena.policy.add(slot, arena.priorities[slot] ?? 0, low, high);
    arena.lists.remove(slot);
    arena.lists.append(2 * (arena.tenants[slot] ?? 0), slot);
  }

  #placed(tier: TierIndex, arena: Arena, row: number, slot: number): void {
    const siblings = this.table.place(row, tier, slot);
    const parent = this.table.parentOf(row);
    const parentSlot = parent === none ? none : this.table.slotOf(parent, tier);
    if (parentSlot !== none) arena.policy.setParent(parentSlot, siblings > 0);
  }
}
