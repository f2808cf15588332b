/**
 * Rows of 32-bit words that are found by a 64-bit key, which is their first two words (low, high). Open addressing with
 * linear probing over row numbers; a row keeps its number while it lives. Millions of rows cost no object each.
 */
export class HashRows {
  /** All rows; row r begins at r * width. Replaced when it grows: do not keep it. */
  words: Uint32Array;
  readonly width: number;
  #buckets = new Int32Array(16);
  #count = 0;
  #used = 0;
  #free = -1;

  /** `width`: words of a row, the key included; at least 3. */
  constructor(width: number) {
    this.width = width;
    this.words = new Uint32Array(8 * width);
  }

  get count(): number {
    return this.#count;
  }

  get bytes(): number {
    return this.words.byteLength + this.#buckets.byteLength;
  }

  /** Number of the row with that key; -1 when there is none. */
  find(low: number, high: number): number {
    const mask = this.#buckets.length - 1;
    for (let at = home(low, high) & mask; ; at = (at + 1) & mask) {
      const row = (this.#buckets[at] ?? 0) - 1;
      if (row < 0) return -1;
      const word = row * this.width;
      if (this.words[word] === low && this.words[word + 1] === high) return row;
    }
  }

  /** Adds a row whose other words are zero; the key must not be there. */
  add(low: number, high: number): number {
    if ((this.#count + 1) * 2 > this.#buckets.length) this.#rehash();
    const row = this.#takeRow();
    const word = row * this.width;
    this.words.fill(0, word, word + this.width);
    this.words[word] = low;
    this.words[word + 1] = high;
    this.#count++;
    this.#place(row);
    return row;
  }

  delete(row: number): void {
    const mask = this.#buckets.length - 1;
    let hole = this.#homeOf(row) & mask;
    while (this.#buckets[hole] !== row + 1) hole = (hole + 1) & mask;
    // Rows after the hole that may move back do, so that no search ends early.
    for (let at = (hole + 1) & mask; this.#buckets[at] !== 0; at = (at + 1) & mask) {
      const distance = (at - this.#homeOf((this.#buckets[at] ?? 0) - 1)) & mask;
      if (distance < ((at - hole) & mask)) continue;
      this.#buckets[hole] = this.#buckets[at] ?? 0;
      hole = at;
    }
    this.#buckets[hole] = 0;
    this.words[row * this.width + 2] = this.#free + 1;
    this.#free = row;
    this.#count--;
  }

  clear(): void {
    this.words = new Uint32Array(8 * this.width);
    this.#buckets = new Int32Array(16);
    this.#count = 0;
    this.#used = 0;
    this.#free = -1;
  }

  /** Numbers of all rows, in no order. Rows must not come or go meanwhile. */
  *rows(): Generator<number> {
    for (const bucket of this.#buckets) if (bucket !== 0) yield bucket - 1;
  }

  #homeOf(row: number): number {
    return home(this.words[row * this.width] ?? 0, this.words[row * this.width + 1] ?? 0);
  }

  #place(row: number): void {
    const mask = this.#buckets.length - 1;
    let at = this.#homeOf(row) & mask;
    while (this.#buckets[at] !== 0) at = (at + 1) & mask;
    this.#buckets[at] = row + 1;
  }

  #rehash(): void {
    const rows = [...this.rows()];
    this.#buckets = new Int32Array(this.#buckets.length * 2);
    for (const row of rows) this.#place(row);
  }

  /** A row that was freed, or the next new one. A free row keeps the number of the next free one, plus 1, after its key. */
  #takeRow(): number {
    if (this.#free >= 0) {
      const row = this.#free;
      this.#free = (this.words[row * this.width + 2] ?? 0) - 1;
      return row;
    }
    if ((this.#used + 1) * this.width > this.words.length) {
      const grown = new Uint32Array(this.words.length * 2);
      grown.set(this.words);
      this.words = grown;
    }
    return this.#used++;
  }
}

/** Engines' hashes are even in their low bits or not (some count up), so both halves are mixed. */
function home(low: number, high: number): number {
  const mixed = Math.imul(low ^ Math.imul(high, 0x9e3779b1), 0x85ebca6b);
  return mixed ^ (mixed >>> 15);
}
