import { type HeapNode, IndexedHeap } from '../../scheduling/indexed-heap.ts';
import type { OffloadFilter, OffloadVerdict } from './filter.ts';
import type { TokenBucket } from './token-bucket.ts';

/** A block that waits to be copied to a colder tier. It is not kept from going: who sends it pins it, or finds it gone. */
export interface OffloadItem {
  readonly namespace: number;
  /** 4 words. */
  readonly digest: Uint32Array;
  readonly bytes: number;
  /** Higher first; equal ones in the order in which they came. */
  readonly priority: number;
}

export interface PipelineSettings {
  /** Blocks in a batch at most, and from how many on a batch does not wait for more. */
  readonly maxBatch: number;
  readonly minBatch: number;
  /** How long blocks wait for a batch to fill. */
  readonly flushMs: number;
  /** Batches under way at most. */
  readonly maxConcurrent: number;
  /** Blocks that wait at most; beyond it those of lowest priority are dropped, the latest first. */
  readonly maxWaiting: number;
}

export const pipelineDefaults: PipelineSettings = {
  maxBatch: 64,
  minBatch: 8,
  flushMs: 10,
  maxConcurrent: 1,
  maxWaiting: 65_536,
};

interface Waiting {
  readonly item: OffloadItem;
  readonly order: number;
  readonly sinceMs: number;
  readonly key: string;
  /** Places in both heaps; undefined once it left. */
  places: readonly [best: HeapNode<Waiting>, worst: HeapNode<Waiting>] | undefined;
}

/** What became of a block that was offered. */
export type OfferOutcome = OffloadVerdict | 'waiting' | 'dropped';

/** One path between two tiers: filter, queue by priority, batches, bandwidth. It asks for no time: callers bring it. */
export class OffloadPipeline {
  readonly #filter: OffloadFilter;
  readonly #bandwidth: TokenBucket;
  readonly #settings: PipelineSettings;
  readonly #onDisplaced: (item: OffloadItem) => void;
  /** Best first, and worst first: the second tells who is dropped when the queue is full. */
  readonly #best = new IndexedHeap<Waiting>((a, b) => isBefore(a, b));
  readonly #worst = new IndexedHeap<Waiting>((a, b) => isBefore(b, a));
  readonly #oldest: Waiting[] = [];
  readonly #keys = new Set<string>();
  #oldestFrom = 0;
  #order = 0;
  #underWay = 0;

  /** `onDisplaced`: a block that waited is dropped for one of higher priority, because the queue is full. */
  constructor(
    filter: OffloadFilter,
    bandwidth: TokenBucket,
    settings: Partial<PipelineSettings> = {},
    onDisplaced: (item: OffloadItem) => void = () => {},
  ) {
    this.#filter = filter;
    this.#bandwidth = bandwidth;
    this.#onDisplaced = onDisplaced;
    this.#settings = { ...pipelineDefaults, ...settings };
  }

  get waiting(): number {
    return this.#best.size;
  }

  get underWay(): number {
    return this.#underWay;
  }

  /** A block that was registered in the warmer tier. `admit`: it waits now. */
  offer(item: OffloadItem, isPresent: boolean, nowMs: number): OfferOutcome {
    const [low = 0, high = 0] = item.digest;
    const verdict = this.#filter.judge({ low, high, isPresent }, nowMs);
    if (verdict !== 'admit') return verdict;
    const key = `${item.namespace}:${item.digest.join()}`;
    if (this.#keys.has(key)) return 'waiting';
    const waiting: Waiting = { item, order: this.#order++, sinceMs: nowMs, key, places: undefined };
    if (this.#best.size >= this.#settings.maxWaiting) {
      const worst = this.#worst.peek();
      if (worst === undefined || isBefore(worst, waiting)) return 'dropped';
      this.#leave(worst);
      this.#onDisplaced(worst.item);
    }
    this.#keys.add(key);
    waiting.places = [this.#best.push(waiting), this.#worst.push(waiting)];
    this.#oldest.push(waiting);
    return 'admit';
  }

  /** The next batch, best blocks first; undefined when none may go now. Every batch must come to `finish`. */
  next(nowMs: number): OffloadItem[] | undefined {
    if (this.wakeAtMs(nowMs) !== nowMs) return undefined;
    const batch: OffloadItem[] = [];
    let bytes = 0;
    for (
      let best = this.#best.peek();
      best !== undefined && batch.length < this.#settings.maxBatch;
      best = this.#best.peek()
    ) {
      this.#leave(best);
      batch.push(best.item);
      bytes += best.item.bytes;
    }
    this.#bandwidth.take(bytes, nowMs);
    this.#underWay++;
    return batch;
  }

  /** A batch was copied, or failed: both make room for the next. */
  finish(): void {
    if (this.#underWay > 0) this.#underWay--;
  }

  /** When `next` will give a batch if nothing else happens: now or later; undefined: not before an offer or a finish. */
  wakeAtMs(nowMs: number): number | undefined {
    const { minBatch, maxConcurrent, flushMs } = this.#settings;
    const oldest = this.#oldestWaiting();
    if (oldest === undefined || this.#underWay >= maxConcurrent) return undefined;
    const fullAtMs = this.#best.size >= minBatch ? nowMs : Math.max(nowMs, oldest.sinceMs + flushMs);
    return Math.max(fullAtMs, nowMs + this.#bandwidth.delayMs(nowMs));
  }

  #leave(waiting: Waiting): void {
    if (waiting.places === undefined) return;
    this.#best.remove(waiting.places[0]);
    this.#worst.remove(waiting.places[1]);
    waiting.places = undefined;
    this.#keys.delete(waiting.key);
  }

  /** Those who left are passed over, and forgotten once they are half of the list. */
  #oldestWaiting(): Waiting | undefined {
    const oldest = this.#oldest;
    for (let first = oldest[this.#oldestFrom]; first !== undefined; first = oldest[this.#oldestFrom]) {
      if (first.places !== undefined) break;
      this.#oldestFrom++;
    }
    if (2 * this.#oldestFrom > oldest.length) oldest.splice(0, this.#oldestFrom);
    else return oldest[this.#oldestFrom];
    this.#oldestFrom = 0;
    return oldest[0];
  }
}

function isBefore(a: Waiting, b: Waiting): boolean {
  return a.item.priority > b.item.priority || (a.item.priority === b.item.priority && a.order < b.order);
}
