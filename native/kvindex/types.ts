// The shapes of core/kv-index/kv-index.ts and approximate.ts, which say what they mean: native/ imports nothing of ours.

export interface EventCounts {
  readonly stored: number;
  readonly removed: number;
  readonly duplicates: number;
  readonly unmatchedParents: number;
  readonly unmatchedRemovals: number;
  readonly dropped: number;
}

export interface AppliedMessage extends EventCounts {
  readonly events: number;
  readonly cleared: number;
  readonly unknownRank: number;
  readonly unknownChange: number;
  readonly firstSequenceNumber: bigint;
  readonly lastSequenceNumber: bigint;
  readonly newestSequenceNumber: bigint;
  readonly snapshot: boolean;
  readonly snapshotEnd: boolean;
}

export interface Overlaps {
  readonly device: Uint32Array;
  readonly host: Uint32Array;
  readonly disk: Uint32Array;
  readonly external: Uint32Array;
}

export interface DumpCursor {
  readonly tier: number;
  readonly position: number;
  readonly offset: number;
  readonly slot: number;
}

export interface DumpEvent {
  readonly slot: number;
  readonly tier: number;
  readonly parent: bigint | undefined;
  readonly hashes: Uint8Array;
}

export interface DumpChunk {
  readonly events: readonly DumpEvent[];
  readonly next: DumpCursor | undefined;
}

export interface KvIndexStats {
  readonly blocks: number;
  readonly entries: number;
  readonly slots: number;
  readonly bytes: number;
  readonly maxBlocks: number;
}

export interface KvIndexOptions {
  /** Most distinct blocks over all tiers; further ones are dropped. */
  readonly maxBlocks: number;
  /** Most slots in use or being reclaimed. Default 4096. */
  readonly maxSlots?: number;
  /** Lookups that `hits` looks back on. 0 (default): none are remembered. */
  readonly hitWindow?: number;
}

/** KvIndex of core/kv-index, and lookups in batches. */
export interface NativeKvIndex {
  addSlot(): number;
  removeSlot(slot: number): void;
  clearSlot(slot: number): void;
  store(slot: number, tier: number, parent: bigint | undefined, hashes: Uint8Array): EventCounts;
  remove(slot: number, tier: number, hashes: Uint8Array): EventCounts;
  applyMessage(message: Uint8Array, slotOfRank: (rank: number) => number | undefined): AppliedMessage;
  match(sequenceHashes: Uint8Array, overlaps: Overlaps): number;
  /**
   * Looks up many prompts: prompt i's hashes end at hash `ends[i]`. The arrays of `overlaps` hold a row for each prompt,
   * their length divided by the number of prompts; those of the lower tiers may be empty: not asked for.
   * `deepest[i]` becomes what `match` returns.
   */
  matchBatch(sequenceHashes: Uint8Array, ends: Uint32Array, overlaps: Overlaps, deepest: Uint32Array): void;
  reclaim(budgetBlocks: number): boolean;
  dump(cursor: DumpCursor | undefined, maxBlocks: number): DumpChunk;
  hits(sequenceHashes: Uint8Array, counts: Uint32Array): void;
  readonly stats: KvIndexStats;
}

export interface ApproximateOptions {
  readonly bound:
    | { readonly kind: 'ttl'; readonly ttlMs: number }
    | { readonly kind: 'lru'; readonly blocksPerSlot: number };
  readonly maxBlocks: number;
}

/** ApproximateIndex of core/kv-index. */
export interface NativeApproximateIndex {
  record(slot: number, sequenceHashes: Uint8Array, nowMs: number): void;
  match(sequenceHashes: Uint8Array, device: Uint32Array, nowMs: number): number;
  removeSlot(slot: number): void;
  limitSlot(slot: number, blocks: number): void;
  expire(nowMs: number): void;
  readonly stats: { readonly entries: number; readonly bytes: number };
}
