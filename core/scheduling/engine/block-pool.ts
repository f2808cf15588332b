const none = -1;

/** Words of a block: what one operation needs of it lies together, in one line of the processor's cache. */
const field = {
  low: 0,
  high: 1,
  parentLow: 2,
  parentHigh: 3,
  localLow: 4,
  localHigh: 5,
  index: 6,
  /** Next in its bucket, counted from 1; 0: the last. */
  next: 7,
  older: 8,
  newer: 9,
  references: 10,
  hashed: 11,
} as const;
/** Words of a block as a power of two, with room to spare. */
const shift = 4;

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
  /** Grows whenever blocks come back: what did not fit before may fit now. */
  generation = 0;
  readonly #onGone: (block: number) => void;
  /** The words of all blocks, once as they are and once signed. */
  readonly #words: Uint32Array;
  readonly #links: Int32Array;
  /** Hash table: first block of each bucket, counted from 1; 0: none. */
  readonly #buckets: Int32Array;
  /** 32 less the bits of a bucket's number. */
  readonly #bucketShift: number;
  /** Ends of the list of hashed blocks that nothing uses. */
  #oldest = none;
  #newest = none;
  #idle = 0;
  /** Blocks that came back, as a stack; those from #fresh on were never used, so that memory grows only with use. */
  readonly #free: Int32Array;
  #freeCount = 0;
  #fresh = 0;

  /** `onGone`: no copy of this hashed block is left; `identityOf` still tells what it was. */
  constructor(total: number, onGone: (block: number) => void) {
    this.total = total;
    this.#onGone = onGone;
    this.#words = new Uint32Array(total << shift);
    this.#links = new Int32Array(this.#words.buffer);
    const bits = Math.ceil(Math.log2(Math.max(2, total)));
    this.#buckets = new Int32Array(2 ** bits);
    this.#bucketShift = 32 - bits;
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
    const words = this.#words;
    let block = (this.#buckets[this.#bucket(low, high)] ?? 0) - 1;
    while (block !== none) {
      const at = block << shift;
      if (words[at] === low && words[at + field.high] === high) return block;
      block = (words[at + field.next] ?? 0) - 1;
    }
    return none;
  }

  isIdle(block: number): boolean {
    return this.#links[(block << shift) + field.references] === 0;
  }

  /** What is known of a hashed block. */
  identityOf(block: number): BlockIdentity {
    const at = block << shift;
    const word = (name: keyof typeof field): number => this.#words[at + field[name]] ?? 0;
    return {
      low: word('low'),
      high: word('high'),
      parentLow: word('parentLow'),
      parentHigh: word('parentHigh'),
      localLow: word('localLow'),
      localHigh: word('localHigh'),
      index: word('index'),
    };
  }

  /** One more user of a block that `find` found. */
  hold(block: number): void {
    const at = (block << shift) + field.references;
    if (this.#links[at] === 0) this.#unlist(block);
    this.#links[at] = (this.#links[at] ?? 0) + 1;
  }

  /** A private block, if need be the place of the one unused longest. The caller has checked `available`. */
  allocate(): number {
    const block = this.#takeFree();
    this.#links[(block << shift) + field.references] = 1;
    return block;
  }

  /** A private block is computed: others find it. Whether it is the first copy. */
  commit(block: number, o: BlockIdentity): boolean {
    const isFirst = this.find(o.low, o.high) === none;
    const words = this.#words;
    const at = block << shift;
    words[at] = o.low;
    words[at + field.high] = o.high;
    words[at + field.parentLow] = o.parentLow;
    words[at + field.parentHigh] = o.parentHigh;
    words[at + field.localLow] = o.localLow;
    words[at + field.localHigh] = o.localHigh;
    words[at + field.index] = o.index;
    words[at + field.hashed] = 1;
    const bucket = this.#bucket(o.low, o.high);
    words[at + field.next] = this.#buckets[bucket] ?? 0;
    this.#buckets[bucket] = block + 1;
    return isFirst;
  }

  /** One user less. A sequence releases its last block first, so that the end of a prefix goes before its beginning. */
  release(block: number): void {
    const at = block << shift;
    const references = (this.#links[at + field.references] ?? 0) - 1;
    this.#links[at + field.references] = references;
    if (references > 0) return;
    if (this.#links[at + field.hashed] === 0) this.#free[this.#freeCount++] = block;
    else this.#list(block);
  }

  /** Gives up the block unused longest; false when there is none. */
  evict(): boolean {
    const block = this.#oldest;
    if (block === none) return false;
    const at = block << shift;
    const [low = 0, high = 0] = [this.#words[at], this.#words[at + field.high]];
    this.#unlist(block);
    this.#unhash(block, low, high);
    this.#words[at + field.hashed] = 0;
    this.#free[this.#freeCount++] = block;
    if (this.find(low, high) === none) this.#onGone(block);
    return true;
  }

  /** One copy of every hashed block, those of lower index in their prompt first. */
  hashedBlocks(): Int32Array {
    const words = this.#words;
    const blocks: number[] = [];
    for (let block = 0; block < this.#fresh; block++) {
      const at = block << shift;
      const isHashed = words[at + field.hashed] === 1;
      if (isHashed && this.find(words[at] ?? 0, words[at + field.high] ?? 0) === block) blocks.push(block);
    }
    const indexOf = (block: number): number => words[(block << shift) + field.index] ?? 0;
    return Int32Array.from(blocks).sort((a, b) => indexOf(a) - indexOf(b));
  }

  /** Hashes of traces may be small numbers: their bits are spread. */
  #bucket(low: number, high: number): number {
    return Math.imul(low ^ Math.imul(high, 0x85ebca6b), 0x9e3779b1) >>> this.#bucketShift;
  }

  #takeFree(): number {
    if (this.#freeCount === 0 && this.#fresh < this.total) return this.#fresh++;
    if (this.#freeCount === 0) this.evict();
    const block = this.#freeCount > 0 ? this.#free[--this.#freeCount] : undefined;
    if (block === undefined) throw new RangeError('no block is left to allocate');
    return block;
  }

  #unhash(block: number, low: number, high: number): void {
    const words = this.#words;
    const bucket = this.#bucket(low, high);
    const next = words[(block << shift) + field.next] ?? 0;
    let at = (this.#buckets[bucket] ?? 0) - 1;
    if (at === block) {
      this.#buckets[bucket] = next;
      return;
    }
    while (words[(at << shift) + field.next] !== block + 1) at = (words[(at << shift) + field.next] ?? 0) - 1;
    words[(at << shift) + field.next] = next;
  }

  #list(block: number): void {
    const links = this.#links;
    const at = block << shift;
    links[at + field.older] = this.#newest;
    links[at + field.newer] = none;
    if (this.#newest === none) this.#oldest = block;
    else links[(this.#newest << shift) + field.newer] = block;
    this.#newest = block;
    this.#idle++;
  }

  #unlist(block: number): void {
    const links = this.#links;
    const at = block << shift;
    const older = links[at + field.older] ?? none;
    const newer = links[at + field.newer] ?? none;
    if (older === none) this.#oldest = newer;
    else links[(older << shift) + field.newer] = newer;
    if (newer === none) this.#newest = older;
    else links[(newer << shift) + field.older] = older;
    this.#idle--;
  }
}
