import type { BlockMedia } from '../tokens/block-hash.ts';

/** What an engine says beside the blocks themselves; null where it says nothing. */
export interface EventOrigin {
  /** Where the blocks are, in the engine's words: GPU, CPU, DISK, … Null: the device. */
  readonly medium: string | null;
  /** Number of the cache group; models with several kinds of attention have several. */
  readonly cacheGroup: number | null;
  /** Kind of attention of the group: full_attention, sliding_window, mamba, … */
  readonly cacheKind: string | null;
  /** Tokens that a sliding window keeps. */
  readonly slidingWindow: number | null;
  /** LOCAL, or REMOTE for what other workers hold. */
  readonly locality: string | null;
  /** Who keeps the blocks, when it is not the engine itself. */
  readonly ownership: string | null;
}

/** Full blocks entered a cache, in prefix order. */
export interface EngineBlocksStored {
  readonly type: 'stored';
  /** The engine's own hash of each block, its low 64 bits. */
  readonly blockHashes: BigUint64Array;
  readonly parentHash: bigint | null;
  /** Tokens of all blocks, and with Eagle the token after them. Empty: only hashes are told. */
  readonly tokenIds: Uint32Array;
  readonly blockSize: number;
  readonly eagle: boolean;
  /** LoRA adapter; empty for none. `adapterId` is its number in older engines and enters nothing. */
  readonly adapter: string;
  readonly adapterId: number | null;
  /** Empty for none, and for blocks that inherit their parent's. */
  readonly cacheSalt: string;
  readonly media: BlockMedia | null;
  readonly sessionId: string | null;
  readonly origin: EventOrigin;
}

/** Blocks left a cache. */
export interface EngineBlocksRemoved {
  readonly type: 'removed';
  readonly blockHashes: BigUint64Array;
  readonly origin: EventOrigin;
}

/** The engine dropped everything. */
export interface EngineBlocksCleared {
  readonly type: 'cleared';
  readonly origin: EventOrigin;
}

/** An event that the engine itself wants ignored. */
export interface EngineEventIgnored {
  readonly type: 'ignored';
}

export type EngineEvent = EngineBlocksStored | EngineBlocksRemoved | EngineBlocksCleared | EngineEventIgnored;

/** What one message of an engine holds. */
export interface EngineEventBatch {
  /** Seconds since 1970 by the engine's clock. */
  readonly timestamp: number;
  /** Null: the rank that the stream is of. */
  readonly dataParallelRank: number | null;
  readonly events: readonly EngineEvent[];
  /** Why events were left out, one line each; those around them are good. */
  readonly malformed: readonly string[];
}
