import type { CandidateTable } from '#core/routing/candidate-table.ts';
import type { TierHits } from '#core/routing/prefill-cost.ts';
import type { WorkerRank } from './worker-ranks.ts';

/** What is known of the blocks that workers have cached. Looks up one prompt at a time; the rest speaks of the last one. */
export interface KvOverlap {
  /** `hashes`: packed sequence hashes of the prompt's full blocks; `ranks`: those that it may be asked of, by index. */
  match(ranks: readonly WorkerRank[], hashes: Uint8Array): void;
  /** Writes what a rank has into a row of candidates. */
  write(index: number, candidates: CandidateTable, row: number): void;
  /** The same on its own. */
  hits(index: number): TierHits;
  /** Blocks of the prompt in the cache that all workers share; null: there is none. */
  readonly sharedBlocks: number | null;
  /** A prompt was sent to a rank that had so much of it: it will have all of it soon. */
  routed(rank: WorkerRank, prompt: RoutedBlocks, hits: TierHits): void;
}

/** The blocks of a prompt that was placed. */
export interface RoutedBlocks {
  readonly hashes: Uint8Array;
  /** Tokens in a block, as the request has it; 0: it does not say. */
  readonly blockSize: number;
  /** Whether an adapter is known to be in the hashes. */
  readonly salted: boolean;
}

const nothing: TierHits = { deviceBlocks: 0, hostBlocks: 0, diskBlocks: 0, externalBlocks: 0 };

/** Knows nothing of caches. */
export const noOverlap: KvOverlap = {
  sharedBlocks: null,
  match: () => {},
  write: () => {},
  hits: () => nothing,
  routed: () => {},
};
