import { unpackHashes } from '../tokens/packed-hashes.ts';

export interface ApproximateOptions {
  /**
   * `ttl`: a block counts as held for this long after its last use; never shorter, at most 100 ms longer.
   * `lru`: a slot holds its most recently used blocks, this many unless `limitSlot` says otherwise.
   */
  readonly bound:
    | { readonly kind: 'ttl'; readonly ttlMs: number }
    | { readonly kind: 'lru'; readonly blocksPerSlot: number };
  /** Most (slot, block) pairs; further ones are not taken until others go. */
  readonly maxBlocks: number;
}

/** Deadlines are multiples of this. */
const expiryStepMs = 100;

/**
 * What slots probably hold, from routing decisions alone: for workers without KV events, and, with a short time, for
 * the moment between a decision and its events. Slots are numbered by the caller. Times come from one monotonic clock;
 * one that steps back counts as standing still.
 */
export interface ApproximateIndex {
  /** After a decision: the slot has or computes these blocks, in chain order. */
  record(slot: number, sequenceHashes: Uint8Array, nowMs: number): void;
  /** Writes, for every slot, the leading blocks that it holds; the array must reach to the highest slot. Returns the deepest. */
  match(sequenceHashes: Uint8Array, device: Uint32Array, nowMs: number): number;
  /** The worker is lost, or dropped its cache. */
  removeSlot(slot: number): void;
  /** Blocks that the slot can hold, with `lru`; takes effect with the next `record`. */
  limitSlot(slot: number, blocks: number): void;
  /** Drops what is too old, as every other call with a time does. */
  expire(nowMs: number): void;
  /** (slot, block) pairs, and memory in bytes. */
  readonly stats: { readonly entries: number; readonly bytes: number };
}

interface Held {
  readonly slot: number;
  readonly hash: bigint;
  readonly deadlineMs: number;
}

/** The approximate index in plain TypeScript: the oracle of tests. */
export class ReferenceApproximateIndex implements ApproximateIndex {
  readonly #options: ApproximateOptions;
  /** Least recently used first. */
  readonly #held = new Map<string, Held>();
  readonly #limits = new Map<number, number>();
  #nowMs = 0;

  constructor(options: ApproximateOptions) {
    this.#options = options;
  }

  record(slot: number, sequenceHashes: Uint8Array, nowMs: number): void {
    this.expire(nowMs);
    const { bound, maxBlocks } = this.#options;
    const deadlineMs =
      bound.kind === 'ttl' ? Math.ceil((this.#nowMs + bound.ttlMs) / expiryStepMs) * expiryStepMs : Infinity;
    // The end of a prompt is of less use than its start, so it is the first to go.
    for (const hash of unpackHashes(sequenceHashes).toReversed()) {
      const key = `${slot}:${hash}`;
      const known = this.#held.delete(key);
      if (known || this.#held.size < maxBlocks) this.#held.set(key, { slot, hash, deadlineMs });
    }
    if (bound.kind === 'lru') {
      const own = (held: Held): boolean => held.slot === slot;
      const count = [...this.#held.values()].filter(own).length;
      this.#evict(count - (this.#limits.get(slot) ?? bound.blocksPerSlot), own);
    }
  }

  match(sequenceHashes: Uint8Array, device: Uint32Array, nowMs: number): number {
    this.expire(nowMs);
    const hashes = unpackHashes(sequenceHashes);
    let deepest = 0;
    for (let slot = 0; slot < device.length; slot++) {
      const missing = hashes.findIndex((hash) => !this.#held.has(`${slot}:${hash}`));
      const depth = missing === -1 ? hashes.length : missing;
      device[slot] = depth;
      deepest = Math.max(deepest, depth);
    }
    return deepest;
  }

  removeSlot(slot: number): void {
    this.#limits.delete(slot);
    this.#evict(this.#held.size, (held) => held.slot === slot);
  }

  limitSlot(slot: number, blocks: number): void {
    this.#limits.set(slot, blocks);
  }

  expire(nowMs: number): void {
    this.#nowMs = Math.max(this.#nowMs, nowMs);
    this.#evict(this.#held.size, (held) => held.deadlineMs <= this.#nowMs);
  }

  get stats(): { readonly entries: number; readonly bytes: number } {
    return { entries: this.#held.size, bytes: this.#held.size * 150 };
  }

  #evict(count: number, which: (held: Held) => boolean): void {
    let left = count;
    for (const [key, held] of this.#held) {
      if (left <= 0) return;
      if (!which(held)) continue;
      this.#held.delete(key);
      left--;
    }
  }
}
