import { binding } from './addon.ts';
import type { DumpColumns, NativeIndex } from './binding.d.ts';
import type {
  AppliedMessage,
  DumpChunk,
  DumpCursor,
  DumpEvent,
  EventCounts,
  KvIndexOptions,
  KvIndexStats,
  NativeKvIndex,
  Overlaps,
} from './types.ts';

/** The index of core/kv-index in C++. See docs/decisions/0006-kv-index.md. */
export function createKvIndex(options: KvIndexOptions): NativeKvIndex {
  return new KvIndex(options);
}

class KvIndex implements NativeKvIndex {
  readonly #results = new Float64Array(12);
  readonly #numbers = new BigUint64Array(3);
  readonly #maxBlocks: number;
  readonly #native: NativeIndex;
  #overlaps: Overlaps | undefined;
  #overlapsLength = 0;

  constructor(options: KvIndexOptions) {
    const { maxBlocks, maxSlots = 4096, hitWindow = 0 } = options;
    this.#maxBlocks = maxBlocks;
    this.#native = binding().createIndex(maxBlocks, maxSlots, hitWindow, this.#results, this.#numbers);
  }

  addSlot(): number {
    return this.#native.addSlot();
  }

  removeSlot(slot: number): void {
    this.#native.removeSlot(slot);
  }

  clearSlot(slot: number): void {
    this.#native.clearSlot(slot);
  }

  store(slot: number, tier: number, parent: bigint | undefined, hashes: Uint8Array): EventCounts {
    this.#native.store(slot, tier, parent ?? null, hashes);
    return this.#counts();
  }

  remove(slot: number, tier: number, hashes: Uint8Array): EventCounts {
    this.#native.remove(slot, tier, hashes);
    return this.#counts();
  }

  applyMessage(message: Uint8Array, slotOfRank: (rank: number) => number | undefined): AppliedMessage {
    this.#native.applyMessage(message, slotOfRank);
    const results = this.#results;
    const [first = 0n, last = 0n, newest = 0n] = this.#numbers;
    return {
      ...this.#counts(),
      events: results[6] ?? 0,
      cleared: results[7] ?? 0,
      unknownRank: results[8] ?? 0,
      unknownChange: results[9] ?? 0,
      firstSequenceNumber: first,
      lastSequenceNumber: last,
      newestSequenceNumber: newest,
      snapshot: results[10] === 1,
      snapshotEnd: results[11] === 1,
    };
  }

  match(sequenceHashes: Uint8Array, overlaps: Overlaps): number {
    // The length is compared too, because a transferred array becomes empty.
    if (overlaps !== this.#overlaps || overlaps.device.length !== this.#overlapsLength) {
      this.#native.setOverlaps(overlaps.device, overlaps.host, overlaps.disk, overlaps.external);
      this.#overlaps = overlaps;
      this.#overlapsLength = overlaps.device.length;
    }
    return this.#native.match(sequenceHashes);
  }

  matchBatch(sequenceHashes: Uint8Array, ends: Uint32Array, overlaps: Overlaps, deepest: Uint32Array): void {
    const { device, host, disk, external } = overlaps;
    this.#native.matchBatch(sequenceHashes, ends, device, host, disk, external, deepest);
  }

  reclaim(budgetBlocks: number): boolean {
    return this.#native.reclaim(budgetBlocks);
  }

  hits(sequenceHashes: Uint8Array, counts: Uint32Array): void {
    this.#native.hits(sequenceHashes, counts);
  }

  dump(cursor: DumpCursor | undefined, maxBlocks: number): DumpChunk {
    const { tier, position, offset, slot } = cursor ?? { tier: 0, position: 1, offset: 0, slot: 0 };
    return dumpChunk(this.#native.dump(tier, position, offset, slot, maxBlocks));
  }

  get stats(): KvIndexStats {
    this.#native.stats();
    const [blocks = 0, entries = 0, slots = 0, bytes = 0] = this.#results;
    return { blocks, entries, slots, bytes, maxBlocks: this.#maxBlocks };
  }

  #counts(): EventCounts {
    const results = this.#results;
    return {
      stored: results[0] ?? 0,
      removed: results[1] ?? 0,
      duplicates: results[2] ?? 0,
      unmatchedParents: results[3] ?? 0,
      unmatchedRemovals: results[4] ?? 0,
      dropped: results[5] ?? 0,
    };
  }
}

function dumpChunk(columns: DumpColumns): DumpChunk {
  const packed = new Uint8Array(columns.hashes.buffer);
  const events: DumpEvent[] = [];
  columns.slots.forEach((slot, i) => {
    const start = i === 0 ? 0 : (columns.ends[i - 1] ?? 0);
    events.push({
      slot,
      tier: columns.tiers[i] ?? 0,
      parent: columns.hasParent[i] === 1 ? columns.parents[i] : undefined,
      hashes: packed.subarray(start * 8, (columns.ends[i] ?? start) * 8),
    });
  });
  const [tier, position = 0, offset = 0, slot = 0] = columns.next;
  return { events, next: tier === undefined ? undefined : { tier, position, offset, slot } };
}
