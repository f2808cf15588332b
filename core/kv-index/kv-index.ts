/** Where blocks lie, as numbers: device 0, host 1, disk 2, external 3. */
export const tierCount = 4;

/** What a change did, in blocks. */
export interface EventCounts {
  /** Blocks that the slot has now and had not before. */
  readonly stored: number;
  /** Blocks that the slot had and has no more. */
  readonly removed: number;
  /** Stored again although the slot had them. */
  readonly duplicates: number;
  /** Events (not blocks) stored after a parent that the slot has in no tier: a sign of lost events. */
  readonly unmatchedParents: number;
  /** Removals of blocks that the slot had not. */
  readonly unmatchedRemovals: number;
  /** Not stored because the index is full. */
  readonly dropped: number;
}

/** What a message of a worker's event stream did. */
export interface AppliedMessage extends EventCounts {
  /** Events in the message. */
  readonly events: number;
  /** Events that dropped everything of a rank. */
  readonly cleared: number;
  /** Events of ranks that slotOfRank does not know; not applied. */
  readonly unknownRank: number;
  /** Events of a kind or tier that this version does not know; not applied. */
  readonly unknownChange: number;
  /** Sequence number of the first event; 0 without events. */
  readonly firstSequenceNumber: bigint;
  /** Sequence number of the last event; 0 without events. */
  readonly lastSequenceNumber: bigint;
  /** The worker's newest, as the message says. */
  readonly newestSequenceNumber: bigint;
  readonly snapshot: boolean;
  readonly snapshotEnd: boolean;
}

/** Matched blocks of each slot, indexed by slot. Every array must reach to the highest slot in use. */
export interface Overlaps {
  /** Blocks from the start of the prompt. */
  readonly device: Uint32Array;
  /** Further blocks after those on the device. */
  readonly host: Uint32Array;
  /** Further blocks after those in host memory. */
  readonly disk: Uint32Array;
  /** Further blocks after those on disk. */
  readonly external: Uint32Array;
}

/** Position of a dump; only the index that made it reads it. */
export interface DumpCursor {
  readonly tier: number;
  readonly position: number;
  readonly offset: number;
  readonly slot: number;
}

/** Blocks of one slot in chain order, as `store` takes them. */
export interface DumpEvent {
  readonly slot: number;
  readonly tier: number;
  readonly parent: bigint | undefined;
  readonly hashes: Uint8Array;
}

export interface DumpChunk {
  readonly events: readonly DumpEvent[];
  /** Where to go on; undefined at the end. */
  readonly next: DumpCursor | undefined;
}

export interface KvIndexStats {
  /** Distinct blocks, summed over tiers; blocks of removed slots count until they are reclaimed. */
  readonly blocks: number;
  /** (slot, tier, block) triples of the slots in use. */
  readonly entries: number;
  /** Slots in use. */
  readonly slots: number;
  /** Memory of the index in bytes; an estimate in the reference. */
  readonly bytes: number;
  readonly maxBlocks: number;
}

export interface KvIndexOptions {
  /** Most distinct blocks over all tiers; further ones are dropped. */
  readonly maxBlocks: number;
  /** Most slots in use or being reclaimed. */
  readonly maxSlots?: number;
  /** Lookups that `hits` looks back on. 0 (default): none are remembered. */
  readonly hitWindow?: number;
}

/**
 * Which slots have which KV blocks in which tier. Blocks are known by sequence hash alone: hashes are chained, so one
 * stands for its whole prefix. Slots are small integers, each standing for one rank of one worker. Columns of hashes are
 * packed, 8 bytes each, little-endian. Unknown slots and tiers, and columns of other lengths, are RangeErrors.
 */
export interface KvIndex {
  /** The lowest free number. RangeError when maxSlots are taken. */
  addSlot(): number;
  /** For a lost worker: lookups forget it at once, its memory and number come back by `reclaim`. */
  removeSlot(slot: number): void;
  /** Forgets everything of the slot in every tier; the slot stays. */
  clearSlot(slot: number): void;
  /** `parent`: the block before the first; undefined where the first starts a prompt. `hashes` in chain order. */
  store(slot: number, tier: number, parent: bigint | undefined, hashes: Uint8Array): EventCounts;
  remove(slot: number, tier: number, hashes: Uint8Array): EventCounts;
  /**
   * Applies an encoded SubscribeKvEventsResponse. Whether the message is well-formed is known before any of it is
   * applied: a malformed one throws an error with the code `invalid_argument` and changes nothing.
   * `slotOfRank` is asked once for each data parallel rank of the message. A message of a snapshot is applied like any
   * other; the caller clears the slots before the first.
   */
  applyMessage(message: Uint8Array, slotOfRank: (rank: number) => number | undefined): AppliedMessage;
  /** Writes every element of the arrays; returns the deepest device match. */
  match(sequenceHashes: Uint8Array, overlaps: Overlaps): number;
  /** Works on what removed slots left, about `budgetBlocks` of it. True: more is left to do. */
  reclaim(budgetBlocks: number): boolean;
  /**
   * A part of everything there is, about `maxBlocks` of it; from the start without cursor. Changes may happen between
   * calls: what existed all the time is in one of the parts.
   */
  dump(cursor: DumpCursor | undefined, maxBlocks: number): DumpChunk;
  /** Writes for each block of a prompt how many of the last `hitWindow` lookups matched it on a device. */
  hits(sequenceHashes: Uint8Array, counts: Uint32Array): void;
  readonly stats: KvIndexStats;
}

export function createOverlaps(slots: number): Overlaps {
  const column = (): Uint32Array => new Uint32Array(slots);
  return { device: column(), host: column(), disk: column(), external: column() };
}
