import type { ApproximateIndex } from '#core/kv-index/approximate.ts';
import { createOverlaps, type KvIndex, type Overlaps } from '#core/kv-index/kv-index.ts';
import type { CandidateTable } from '#core/routing/candidate-table.ts';
import type { TierHits } from '#core/routing/prefill-cost.ts';
import type { KvOverlap, RoutedBlocks } from './kv-overlap.ts';
import { blocksOf, sharedCache } from './shared-cache.ts';
import type { WorkerRank } from './worker-ranks.ts';

/** Which slot of the index of events stands for a rank; −1: no events of it are followed. */
export interface IndexedRanks {
  slotOf(rank: Pick<WorkerRank, 'model' | 'instanceId' | 'dataParallelRank'>): number;
  /** The same for many, computed once for each change. */
  slotsOf(ranks: readonly WorkerRank[]): Int32Array;
  /** Arrays as long as there are slots. */
  readonly overlaps: Overlaps;
}

export interface IndexOverlapOptions {
  /** What workers tell of their blocks. */
  readonly index: Pick<KvIndex, 'match'>;
  readonly ranks: IndexedRanks;
  /** What ranks probably hold that tell no events, by their numbers in the accounts. */
  readonly approximate: ApproximateIndex;
  /** What ranks that do will hold in a moment; null: events are waited for. */
  readonly predicted: ApproximateIndex | null;
  /** Numbers of ranks are below this. */
  readonly rankCapacity: () => number;
  /** Monotonic milliseconds. */
  readonly nowMs: () => number;
  /** Told of every prompt that was sent to a rank whose events are followed. */
  onRouted(slot: number, prompt: RoutedBlocks, matchedBlocks: number): void;
}

/** What is known of the blocks of ranks, from events and from what was routed to them. */
export class IndexOverlap implements KvOverlap {
  readonly #options: IndexOverlapOptions;
  #overlaps: Overlaps = createOverlaps(0);
  #approximate = new Uint32Array(64);
  #predicted = new Uint32Array(64);
  #ranks: readonly WorkerRank[] = [];
  #slots: Int32Array = new Int32Array();
  #sharedSlot = -1;
  readonly #hits = { deviceBlocks: 0, hostBlocks: 0, diskBlocks: 0, externalBlocks: 0 };

  constructor(options: IndexOverlapOptions) {
    this.#options = options;
  }

  match(ranks: readonly WorkerRank[], hashes: Uint8Array): void {
    const { index, ranks: indexed, approximate, predicted, rankCapacity, nowMs } = this.#options;
    const [any] = ranks;
    this.#ranks = hashes.length === 0 ? [] : ranks;
    this.#sharedSlot = -1;
    if (hashes.length === 0 || any === undefined) return;
    this.#sharedSlot = indexed.slotOf({ model: any.model, instanceId: sharedCache, dataParallelRank: 0 });
    this.#overlaps = indexed.overlaps;
    this.#slots = indexed.slotsOf(ranks);
    index.match(hashes, this.#overlaps);
    if (this.#approximate.length < rankCapacity()) {
      this.#approximate = new Uint32Array(rankCapacity() * 2);
      this.#predicted = new Uint32Array(rankCapacity() * 2);
    }
    approximate.match(hashes, this.#approximate, nowMs());
    predicted?.match(hashes, this.#predicted, nowMs());
  }

  write(index: number, candidates: CandidateTable, row: number): void {
    const hits = this.#read(index);
    const { deviceBlocks, hostBlocks, diskBlocks, externalBlocks } = hits;
    candidates.deviceBlocks[row] = deviceBlocks;
    candidates.hostBlocks[row] = hostBlocks;
    candidates.diskBlocks[row] = diskBlocks;
    candidates.externalBlocks[row] = externalBlocks;
    candidates.sharedBlocks[row] = Math.max(0, (this.sharedBlocks ?? 0) - blocksOf(hits));
  }

  hits(index: number): TierHits {
    return { ...this.#read(index) };
  }

  get sharedBlocks(): number | null {
    const slot = this.#sharedSlot;
    if (slot < 0) return null;
    const { device, host, disk, external } = this.#overlaps;
    return (device[slot] ?? 0) + (host[slot] ?? 0) + (disk[slot] ?? 0) + (external[slot] ?? 0);
  }

  routed(rank: WorkerRank, prompt: RoutedBlocks, hits: TierHits): void {
    const { approximate, predicted, ranks, nowMs, onRouted } = this.#options;
    const { hashes } = prompt;
    const slot = ranks.slotOf(rank);
    if (slot < 0) {
      approximate.record(rank.slot, hashes, nowMs());
      return;
    }
    predicted?.record(rank.slot, hashes, nowMs());
    onRouted(slot, prompt, blocksOf(hits));
  }

  /** What the rank of this index has; valid until the next call. */
  #read(index: number): TierHits {
    const hits = this.#hits;
    const rank = this.#ranks[index];
    const slot = this.#slots[index] ?? -1;
    hits.deviceBlocks = slot < 0 ? 0 : (this.#overlaps.device[slot] ?? 0);
    hits.hostBlocks = slot < 0 ? 0 : (this.#overlaps.host[slot] ?? 0);
    hits.diskBlocks = slot < 0 ? 0 : (this.#overlaps.disk[slot] ?? 0);
    hits.externalBlocks = slot < 0 ? 0 : (this.#overlaps.external[slot] ?? 0);
    if (rank === undefined) {
      hits.deviceBlocks = hits.hostBlocks = hits.diskBlocks = hits.externalBlocks = 0;
      return hits;
    }
    const promised = slot < 0 ? this.#approximate[rank.slot] : this.#predicted[rank.slot];
    let more = (promised ?? 0) - hits.deviceBlocks;
    if (more <= 0) return hits;
    hits.deviceBlocks += more;
    // Blocks that will be on the device no longer count below it.
    for (const tier of ['hostBlocks', 'diskBlocks', 'externalBlocks'] as const) {
      const covered = Math.min(more, hits[tier]);
      hits[tier] -= covered;
      more -= covered;
    }
    return hits;
  }
}
