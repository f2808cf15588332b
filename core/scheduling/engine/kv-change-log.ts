import type { BlockIdentity } from './block-pool.ts';
import { type KvChanges, kvChangeKinds } from './engine-model.ts';

/** Collects changes of a cache in columns that are reused. */
export class KvChangeLog {
  #count = 0;
  #stamped = 0;
  #blocks = 0;
  #kinds = new Uint8Array(16);
  #tiers = new Uint8Array(16);
  #atMs = new Float64Array(16);
  #startBlocks = new Int32Array(16);
  #ends = new Int32Array(16);
  /** Two words each, low first. */
  #parents = new Uint32Array(32);
  #hashes = new Uint32Array(128);
  #locals = new Uint32Array(128);
  /** The same columns as bytes. */
  #parentBytes = bytesOf(this.#parents);
  #hashBytes = bytesOf(this.#hashes);
  #localBytes = bytesOf(this.#locals);

  get count(): number {
    return this.#count;
  }

  get blocks(): number {
    return this.#blocks;
  }

  /** A block entered a tier. It joins the change before it when it follows the last block of that. */
  stored(tier: number, block: BlockIdentity): void {
    if (!this.#continues(tier, block)) {
      this.#begin(kvChangeKinds.stored, tier);
      const change = this.#count - 1;
      this.#startBlocks[change] = block.index;
      this.#parents[2 * change] = block.parentLow;
      this.#parents[2 * change + 1] = block.parentHigh;
    }
    this.#push(block.low, block.high, block.localLow, block.localHigh);
  }

  removed(tier: number, low: number, high: number): void {
    const last = this.#count - 1;
    const joins = last >= this.#stamped && this.#kinds[last] === kvChangeKinds.removed && this.#tiers[last] === tier;
    if (!joins) {
      this.#begin(kvChangeKinds.removed, tier);
      this.#startBlocks[this.#count - 1] = 0;
    }
    this.#push(low, high, 0, 0);
  }

  /** The changes since the last stamp can be seen from then on. */
  stamp(atMs: number): void {
    if (this.#stamped < this.#count) this.#atMs.fill(atMs, this.#stamped, this.#count);
    this.#stamped = this.#count;
  }

  /** Everything since the last call; valid until the next change. */
  take(): KvChanges {
    const taken = {
      count: this.#count,
      kinds: this.#kinds,
      tiers: this.#tiers,
      atMs: this.#atMs,
      startBlocks: this.#startBlocks,
      parents: this.#parentBytes,
      ends: this.#ends,
      sequenceHashes: this.#hashBytes,
      localHashes: this.#localBytes,
    };
    this.#count = 0;
    this.#stamped = 0;
    this.#blocks = 0;
    return taken;
  }

  #continues(tier: number, block: BlockIdentity): boolean {
    const last = this.#count - 1;
    if (last < this.#stamped || this.#kinds[last] !== kvChangeKinds.stored || this.#tiers[last] !== tier) return false;
    const at = 2 * (this.#blocks - 1);
    const follows = this.#hashes[at] === block.parentLow && this.#hashes[at + 1] === block.parentHigh;
    return follows && block.index > 0;
  }

  #begin(kind: number, tier: number): void {
    const change = this.#count++;
    if (change === this.#kinds.length) this.#growChanges();
    this.#kinds[change] = kind;
    this.#tiers[change] = tier;
    this.#atMs[change] = 0;
    this.#parents[2 * change] = 0;
    this.#parents[2 * change + 1] = 0;
  }

  #push(low: number, high: number, localLow: number, localHigh: number): void {
    const at = 2 * this.#blocks++;
    if (at === this.#hashes.length) {
      this.#hashes = grown(this.#hashes, Uint32Array);
      this.#locals = grown(this.#locals, Uint32Array);
      this.#hashBytes = bytesOf(this.#hashes);
      this.#localBytes = bytesOf(this.#locals);
    }
    this.#hashes[at] = low;
    this.#hashes[at + 1] = high;
    this.#locals[at] = localLow;
    this.#locals[at + 1] = localHigh;
    this.#ends[this.#count - 1] = this.#blocks;
  }

  #growChanges(): void {
    this.#kinds = grown(this.#kinds, Uint8Array);
    this.#tiers = grown(this.#tiers, Uint8Array);
    this.#atMs = grown(this.#atMs, Float64Array);
    this.#startBlocks = grown(this.#startBlocks, Int32Array);
    this.#ends = grown(this.#ends, Int32Array);
    this.#parents = grown(this.#parents, Uint32Array);
    this.#parentBytes = bytesOf(this.#parents);
  }
}

function bytesOf(words: Uint32Array): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
}

type Column = Uint8Array<ArrayBuffer> | Int32Array<ArrayBuffer> | Uint32Array<ArrayBuffer> | Float64Array<ArrayBuffer>;

function grown<T extends Column>(column: T, make: new (length: number) => T): T {
  const larger = new make(column.length * 2);
  larger.set(column);
  return larger;
}
