import { createOverlaps, type KvIndex, type Overlaps } from '#core/kv-index/kv-index.ts';

/** One data parallel rank of a worker as the cache of one model: what a slot of the index stands for. */
export interface KvSource {
  readonly instanceId: bigint;
  readonly dataParallelRank: number;
  readonly model: string;
  /** Tokens in a block. */
  readonly blockSize: number;
}

/** What look-ups go by; a rank of the router's table has these. */
type SourceKey = Pick<KvSource, 'instanceId' | 'dataParallelRank' | 'model'>;

interface CachedSlots {
  readonly version: number;
  readonly slots: Int32Array;
}

/**
 * Which slot of the index stands for which rank of which worker. A slot is allocated, filled and then published; what a rank
 * had before goes in the same moment, so that a look-up never meets half of a cache.
 */
export class KvSlots {
  readonly #index: KvIndex;
  readonly #onReleased: () => void;
  /** By model, worker and rank. */
  readonly #slots = new Map<string, Map<bigint, Map<number, number>>>();
  readonly #sources: (KvSource | undefined)[] = [];
  readonly #cached = new WeakMap<readonly SourceKey[], CachedSlots>();
  #capacity = 0;
  #overlaps: Overlaps = createOverlaps(0);
  #version = 0;

  /** `onReleased`: the index has something to reclaim. */
  constructor(index: KvIndex, onReleased: () => void) {
    this.#index = index;
    this.#onReleased = onReleased;
  }

  /** Changes whenever a rank gets, changes or loses its slot. */
  get version(): number {
    return this.#version;
  }

  /** A slot that stands for nothing yet. Throws RangeError when all are taken. */
  allocate(): number {
    const slot = this.#index.addSlot();
    this.#capacity = Math.max(this.#capacity, slot + 1);
    return slot;
  }

  /** From now on the slot stands for the source; the one that did before is released. */
  publish(source: KvSource, slot: number): void {
    const before = this.slotOf(source);
    const workers = this.#slots.get(source.model) ?? new Map<bigint, Map<number, number>>();
    const ranks = workers.get(source.instanceId) ?? new Map<number, number>();
    this.#slots.set(source.model, workers.set(source.instanceId, ranks.set(source.dataParallelRank, slot)));
    this.#sources[slot] = source;
    this.#version++;
    if (before >= 0 && before !== slot) this.release(before);
  }

  /** The rank has no slot any more. */
  withdraw(source: KvSource): void {
    const slot = this.slotOf(source);
    if (slot < 0) return;
    const workers = this.#slots.get(source.model);
    const ranks = workers?.get(source.instanceId);
    ranks?.delete(source.dataParallelRank);
    if (ranks?.size === 0) workers?.delete(source.instanceId);
    if (workers?.size === 0) this.#slots.delete(source.model);
    this.#version++;
    this.release(slot);
  }

  /** Gives back a slot that stands for nothing. */
  release(slot: number): void {
    this.#sources[slot] = undefined;
    this.#index.removeSlot(slot);
    this.#onReleased();
  }

  /** -1: nothing is known of the rank. */
  slotOf({ model, instanceId, dataParallelRank }: SourceKey): number {
    return this.#slots.get(model)?.get(instanceId)?.get(dataParallelRank) ?? -1;
  }

  sourceOf(slot: number): KvSource | undefined {
    return this.#sources[slot];
  }

  /** Everything that slots stand for, of one model or (empty) of all. */
  *published(model: string): Generator<{ readonly source: KvSource; readonly slot: number }> {
    for (const [slot, source] of this.#sources.entries())
      if (source !== undefined && (model === '' || source.model === model)) yield { source, slot };
  }

  /** The slots of ranks, by index. For the same array it is computed again only after a change. */
  slotsOf(ranks: readonly SourceKey[]): Int32Array {
    const known = this.#cached.get(ranks);
    if (known?.version === this.#version) return known.slots;
    const slots = Int32Array.from(ranks, (rank) => this.slotOf(rank));
    this.#cached.set(ranks, { version: this.#version, slots });
    return slots;
  }

  /** Arrays for the index to match into, as long as its slots need. The same ones until it has more slots. */
  get overlaps(): Overlaps {
    if (this.#overlaps.device.length < this.#capacity) this.#overlaps = createOverlaps(this.#capacity * 2);
    return this.#overlaps;
  }
}
