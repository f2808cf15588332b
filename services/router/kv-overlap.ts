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
  /** A prompt was sent to a rank that had so many of its blocks on the device: it will have all of them soon. */
  routed(rank: WorkerRank, hashes: Uint8Array, deviceBlocks: number): void;
}

const nothing: TierHits = { deviceBlocks: 0, hostBlocks: 0, diskBlocks: 0, externalBlocks: 0 };

/** For routers that know nothing of caches. */
export const noOverlap: KvOverlap = { match: () => {}, write: () => {}, hits: () => nothing, routed: () => {} };
