// One-to-one mirror of what src/addon.cc exports.

export interface Binding {
  /** Calls of the index write counts to `results` (12) and sequence numbers to `numbers` (3). */
  createIndex(
    maxBlocks: number,
    maxSlots: number,
    hitWindow: number,
    results: Float64Array,
    numbers: BigUint64Array,
  ): NativeIndex;
  /** Exactly one of ttlMs and blocksPerSlot is not 0. `stats` writes to `results` (2). */
  createApproximate(ttlMs: number, blocksPerSlot: number, maxBlocks: number, results: Float64Array): NativeApproximate;
}

export interface NativeApproximate {
  record(slot: number, hashes: Uint8Array, nowMs: number): void;
  match(hashes: Uint8Array, device: Uint32Array, nowMs: number): number;
  removeSlot(slot: number): void;
  limitSlot(slot: number, blocks: number): void;
  expire(nowMs: number): void;
  /** Writes entries and bytes to `results`. */
  stats(): void;
}

export interface NativeIndex {
  addSlot(): number;
  removeSlot(slot: number): void;
  clearSlot(slot: number): void;
  store(slot: number, tier: number, parent: bigint | null, hashes: Uint8Array): void;
  remove(slot: number, tier: number, hashes: Uint8Array): void;
  applyMessage(message: Uint8Array, slotOfRank: (rank: number) => number | undefined): void;
  setOverlaps(device: Uint32Array, host: Uint32Array, disk: Uint32Array, external: Uint32Array): void;
  match(hashes: Uint8Array): number;
  matchBatch(
    hashes: Uint8Array,
    ends: Uint32Array,
    device: Uint32Array,
    host: Uint32Array,
    disk: Uint32Array,
    external: Uint32Array,
    deepest: Uint32Array,
  ): void;
  reclaim(budgetBlocks: number): boolean;
  hits(hashes: Uint8Array, counts: Uint32Array): void;
  /** Writes blocks, entries, slots and bytes to `results`. */
  stats(): void;
  dump(tier: number, position: number, offset: number, slot: number, maxBlocks: number): DumpColumns;
}

/** Stored events as columns; the hashes of event i end at ends[i]. `next` is empty at the end. */
export interface DumpColumns {
  readonly slots: Uint32Array;
  readonly tiers: Uint32Array;
  readonly hasParent: Uint32Array;
  readonly parents: BigUint64Array;
  readonly ends: Uint32Array;
  readonly hashes: BigUint64Array;
  readonly next: Uint32Array;
}
