const none = -1;

/** Columns of every block of a pool, indexed by block. Hash columns are valid for hashed blocks. */
interface BlockColumns {
  readonly low: Uint32Array;
  readonly high: Uint32Array;
  readonly parentLow: Uint32Array;
  readonly parentHigh: Uint32Array;
  readonly localLow: Uint32Array;
  readonly localHigh: Uint32Array;
  /** Index in its prompt. */
  readonly index: Int32Array;
}

/** Identity of a block whose tokens are all computed; 64-bit hashes in two words. */
export interface BlockIdentity {
  readonly low: number;
  readonly high: number;
  readonly parentLow: number;
  readonly parentHigh: number;
  readonly localLow: number;
  readonly localHigh: number;
  /** Index in its prompt. */
  readonly index: number;
}

/**
 * The physical blocks of a paged cache. A block is free, private to a sequence that fills it, or hashed: then other
 * sequences find and share it, and unused it stays until something needs its place, the one unused longest first. Two
 * sequences that compute the same block at the same time have a copy each, as in vLLM.
 */
export class BlockPool {
  readonly total: number;
  readonly columns: BlockColumns;
  /** Grows whenever blocks come back: what did not fit before may fit now. */
  generation = 0;
  readonly #onGone: (block: number) => void;
  readonly #references: Int32Array;
  readonly #hashed: Uint8Array;
  /** Hash table: first block of each bucket, then the next in the bucket; blocks count from 1 here, and 0 is the end. */
  readonly #buckets: Int32Array;
  /** 32 less the bits of a bucket's number. */
  readonly #shift: number;
  readonly #next: Int32Array;
  /** Hashed blocks that nothing uses, as a list from the one unused longest. */
  readonly #older: Int32Array;
  readonly #newer: Int32Array;
  #oldest = none;
  #newest = none;
  #idle = 0;
  /** Blocks that came back, as a stack; those from #fresh on were never used, so that memory grows only with use. */
  readonly #free: Int32Array;
  #freeCount = 0;
  #fresh = 0;

  /** `onGone`: no copy of this hashed block is left; its columns are still those of the block. */
  constructor(total: number, onGone: (block: number) => void) {
    this.total = total;
    this.#onGone = onGone;
    const words = (): Uint32Array => new Uint32Array(total);
    this.columns = {
      low: words(),
      high: words(),
      parentLow: words(),
      parentHigh: words(),
      localLow: words(),
      localHigh: words(),
      index: new Int32Array(total),
    };
    this.#references = new Int32Array(total);
    this.#hashed = new Uint8Array(total);
    const bits = Math.ceil(Math.log2(Math.max(2, total)));
    this.#buckets = new Int32Array(2 ** bits);
    this.#shift = 32 - bits;
    this.#next = new Int32Array(total);
    this.#older = new Int32Array(total);
    this.#newer = new Int32Array(total);
    this.#free = new Int32Array(total);
  }

  /** Blocks that can be had, by eviction too. */
  get available(): number {
    return this.total - this.#fresh + this.#freeCount + this.#idle;
  }

  get active(): number {
    return this.#fresh - this.#freeCount - this.#idle;
  }

  /** Hashed blocks that nothing uses. */
  get idle(): number {
    return this.#idle;
  }

  /** A copy of the block with this hash, or -1. */
  find(low: number, high: number): number {
    const { low: lows, high: highs } = this.columns;
    let block = (this.#buckets[this.#bucket(low, high)] ?? 0) - 1;
    while (block !== none && !(lows[block] === low && highs[block] === high)) block = (this.#next[block] ?? 0) - 1;
    return block;
  }

  isIdle(block: number): boolean {
    return this.#references[block] === 0;
  }

  /** One more user of a block that `find` found. */
  hold(block: number): void {
    if (this.#references[block] === 0) this.#unlist(block);
    this.#references[block] = (this.#references[block] ?? 0) + 1;
  }

  /** A private block, if need be the place of the one unused longest. The caller has checked `available`. */
  allocate(): number {
    const block = this.#takeFree();
    this.#references[block] = 1;
    return block;
  }

  /** A private block is computed: others find it. Whether it is the first copy. */
  commit(block: number, o: BlockIdentity): boolean {
    const isFirst = this.find(o.low, o.high) === none;
    const { columns } = this;
    columns.low[block] = o.low;
    columns.high[block] = o.high;
    columns.parentLow[block] = o.parentLow;
    columns.parentHigh[block] = o.parentHigh;
    columns.localLow[block] = o.localLow;
    columns.localHigh[block] = o.localHigh;
    columns.index[block] = o.index;
    this.#hashed[block] = 1;
    const bucket = this.#bucket(o.low, o.high);
    this.#next[block] = this.#buckets[bucket] ?? 0;
    this.#buckets[bucket] = block + 1;
    return isFirst;
  }

  /** One user less. A sequence releases its last block first, so that the end of a prefix goes before its beginning. */
  release(block: number): void {
    const references = (this.#references[block] ?? 0) - 1;
    this.#references[block] = references;
    if (references > 0) return;
    if (this.#hashed[block] === 0) this.#free[this.#freeCount++] = block;
    else this.#list(block);
  }

  /** Gives up the block unused longest; false when there is none. */
  evict(): boolean {
    const block = this.#oldest;
    if (block === none) return false;
    this.#unlist(block);
    this.#unhash(block);
    this.#hashed[block] = 0;
    this.#free[this.#freeCount++] = block;
    const { low, high } = this.columns;
    if (this.find(low[block] ?? 0, high[block] ?? 0) === none) this.#onGone(block);
    return true;
  }

  /** One copy of every hashed block, those of lower index in their prompt first. */
  hashedBlocks(): Int32Array {
    const { low, high, index } = this.columns;
    const blocks: number[] = [];
    for (let block = 0; block < this.#fresh; block++)
      if (this.#hashed[block] === 1 && this.find(low[block] ?? 0, high[block] ?? 0) === block) blocks.push(block);
    return Int32Array.from(blocks).sort((a, b) => (index[a] ?? 0) - (index[b] ?? 0));
  }

  /** Hashes of traces may be small numbers: their bits are spread. */
  #bucket(low: number, high: number): number {
    return Math.imul(low ^ Math.imul(high, 0x85ebca6b), 0x9e3779b1) >>> this.#shift;
  }

  #takeFree(): number {
    if (this.#freeCount === 0 && this.#fresh < this.total) return this.#fresh++;
    if (this.#freeCount === 0) this.evict();
    const block = this.#freeCount > 0 ? this.#free[--this.#freeCount] : undefined;
    if (block === undefined) throw new RangeError('no block is left to allocate');
    return block;
  }

  #unhash(block: number): void {
    const bucket = this.#bucket(this.columns.low[block] ?? 0, this.columns.high[block] ?? 0);
    const next = this.#next[block] ?? 0;
    let at = (this.#buckets[bucket] ?? 0) - 1;
    if (at === block) {
      this.#buckets[bucket] = next;
      return;
    }
    while (this.#next[at] !== block + 1) at = (this.#next[at] ?? 0) - 1;
    this.#next[at] = next;
  }

  #list(block: number): void {
    this.#older[block] = this.#newest;
    this.#newer[block] = none;
    if (this.#newest === none) this.#oldest = block;
    else this.#newer[this.#newest] = block;
    this.#newest = block;
    this.#idle++;
  }

  #unlist(block: number): void {
    const older = this.#older[block] ?? none;
    const newer = this.#newer[block] ?? none;
    if (older === none) this.#oldest = newer;
    else this.#newer[older] = newer;
    if (newer === none) this.#newest = older;
    else this.#older[newer] = older;
    this.#idle--;
  }
}

/** What a pool's columns say of a block. */
export function identityOf({ columns }: BlockPool, block: number): BlockIdentity {
  return {
    low: columns.low[block] ?? 0,
    high: columns.high[block] ?? 0,
    parentLow: columns.parentLow[block] ?? 0,
    parentHigh: columns.parentHigh[block] ?? 0,
    localLow: columns.localLow[block] ?? 0,
    localHigh: columns.localHigh[block] ?? 0,
    index: columns.index[block] ?? 0,
  };
}
