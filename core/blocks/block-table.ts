import { none } from './slot-lists.ts';
import { type TierIndex, tierCount } from './tiers.ts';

// Words of a row: the key is the digest and the namespace.
const namespaceWord = 4;
const sequenceHashWord = 5;
const parentWord = 7;
const positionWord = 8;
const slotWord = 9;
const childrenWord = slotWord + tierCount;
const referencesWord = childrenWord + tierCount;
const width = referencesWord + 1;

/** Words of a digest of 128 bits. */
export const digestWords = 4;

/**
 * Every block that some tier holds or that is being written, found by its namespace and the digest of its prefix, with
 * its place in each tier and the block before it. A row lives while a tier holds the block, a child names it, or someone
 * holds a reference; then its number may be used again. 64 bytes a row and 8 to 16 of buckets.
 */
export class BlockTable {
  #words: Uint32Array;
  #buckets: Int32Array;
  #count = 0;
  #used = 0;
  #free = none;

  /** Room for `expectedBlocks` without growing. */
  constructor(expectedBlocks: number) {
    this.#words = new Uint32Array(Math.max(16, expectedBlocks) * width);
    this.#buckets = new Int32Array(2 ** Math.ceil(Math.log2(2 * Math.max(16, expectedBlocks))));
  }

  get count(): number {
    return this.#count;
  }

  get bytes(): number {
    return this.#words.byteLength + this.#buckets.byteLength;
  }

  /** Row of the block whose digest is at that index of a column of digests; -1 when unknown. */
  find(namespace: number, digests: Uint32Array, index: number): number {
    const mask = this.#buckets.length - 1;
    const from = index * digestWords;
    const [a, b] = [digests[from] ?? 0, digests[from + 1] ?? 0];
    for (let at = home(namespace, a, b) & mask; ; at = (at + 1) & mask) {
      const row = (this.#buckets[at] ?? 0) - 1;
      if (row < 0 || this.#isRow(row, namespace, digests, from)) return row;
    }
  }

  /**
   * The block's row, made when there is none, with one more reference. `parentRow` is the row of the block before it,
   * -1 for the first of a prompt. A row that is known keeps its parent.
   */
  refer(
    namespace: number,
    digests: Uint32Array,
    index: number,
    sequenceHash: bigint,
    parentRow: number,
    position: number,
  ): number {
    let row = this.find(namespace, digests, index);
    if (row === none) row = this.#add(namespace, digests, index, sequenceHash, parentRow, position);
    else if (parentRow !== none && this.parentOf(row) === none) this.#adoptParent(row, parentRow);
    this.#words[row * width + referencesWord] = this.#word(row, referencesWord) + 1;
    return row;
  }

  /** Gives a reference back. Rows that nothing holds any more go, from child to parent. */
  release(row: number): void {
    for (let at = row; at !== none; ) {
      const references = this.#word(at, referencesWord) - 1;
      this.#words[at * width + referencesWord] = references;
      if (references > 0) return;
      const parent = this.parentOf(at);
      this.#delete(at);
      at = parent;
    }
  }

  /** Slot of the block in a tier; -1 when the tier has none. */
  slotOf(row: number, tier: TierIndex): number {
    return this.#word(row, slotWord + tier) - 1;
  }

  /** Says where a tier has the block from now on (-1: nowhere). Returns how many children its parent has in the tier, -1 without a parent. */
  place(row: number, tier: TierIndex, slot: number): number {
    const was = this.slotOf(row, tier);
    this.#words[row * width + slotWord + tier] = slot + 1;
    const parent = this.parentOf(row);
    const change = (slot === none ? 0 : 1) - (was === none ? 0 : 1);
    if (parent === none) return none;
    const children = this.childrenOf(parent, tier) + change;
    this.#words[parent * width + childrenWord + tier] = children;
    return children;
  }

  /** Blocks that go on from this one and are in the tier. */
  childrenOf(row: number, tier: TierIndex): number {
    return this.#word(row, childrenWord + tier);
  }

  parentOf(row: number): number {
    return this.#word(row, parentWord) - 1;
  }

  namespaceOf(row: number): number {
    return this.#word(row, namespaceWord);
  }

  /** Index of the block in its prompt. */
  positionOf(row: number): number {
    return this.#word(row, positionWord);
  }

  sequenceHashOf(row: number): bigint {
    return (BigInt(this.#word(row, sequenceHashWord + 1)) << 32n) | BigInt(this.#word(row, sequenceHashWord));
  }

  /** One of the four words of the block's digest. */
  digestWord(row: number, word: number): number {
    return this.#word(row, word);
  }

  /** Rows whose block some tier holds, in no order. Rows must not come or go meanwhile. */
  *rowsIn(tier: TierIndex): Generator<number> {
    for (const bucket of this.#buckets) if (bucket !== 0 && this.slotOf(bucket - 1, tier) !== none) yield bucket - 1;
  }

  #word(row: number, word: number): number {
    return this.#words[row * width + word] ?? 0;
  }

  #isRow(row: number, namespace: number, digests: Uint32Array, from: number): boolean {
    const words = this.#words;
    const at = row * width;
    return (
      words[at] === digests[from] &&
      words[at + 1] === digests[from + 1] &&
      words[at + 2] === digests[from + 2] &&
      words[at + 3] === digests[from + 3] &&
      words[at + namespaceWord] === namespace
    );
  }

  #add(
    namespace: number,
    digests: Uint32Array,
    index: number,
    sequenceHash: bigint,
    parentRow: number,
    position: number,
  ): number {
    if ((this.#count + 1) * 2 > this.#buckets.length) this.#rehash();
    const row = this.#takeRow();
    const words = this.#words;
    const at = row * width;
    words.fill(0, at, at + width);
    for (let word = 0; word < digestWords; word++) words[at + word] = digests[index * digestWords + word] ?? 0;
    words[at + namespaceWord] = namespace;
    words[at + sequenceHashWord] = Number(sequenceHash & 0xffffffffn);
    words[at + sequenceHashWord + 1] = Number(sequenceHash >> 32n);
    words[at + positionWord] = position;
    this.#count++;
    this.#seat(row);
    if (parentRow !== none) this.#adoptParent(row, parentRow);
    return row;
  }

  /** Only a block one further to the front is a parent: positions fall along every path, so that no cycle can arise. */
  #adoptParent(row: number, parent: number): void {
    if (this.positionOf(parent) + 1 !== this.positionOf(row)) return;
    this.#words[row * width + parentWord] = parent + 1;
    this.#words[parent * width + referencesWord] = this.#word(parent, referencesWord) + 1;
  }

  #delete(row: number): void {
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
    this.#words[row * width] = this.#free + 1;
    this.#free = row;
    this.#count--;
  }

  #homeOf(row: number): number {
    return home(this.#word(row, namespaceWord), this.#word(row, 0), this.#word(row, 1));
  }

  #seat(row: number): void {
    const mask = this.#buckets.length - 1;
    let at = this.#homeOf(row) & mask;
    while (this.#buckets[at] !== 0) at = (at + 1) & mask;
    this.#buckets[at] = row + 1;
  }

  #rehash(): void {
    const seated = this.#buckets.filter((bucket) => bucket !== 0);
    this.#buckets = new Int32Array(this.#buckets.length * 2);
    for (const bucket of seated) this.#seat(bucket - 1);
  }

  /** A row that was freed (its first word names the next free one, plus 1), or the next new one. */
  #takeRow(): number {
    if (this.#free !== none) {
      const row = this.#free;
      this.#free = this.#word(row, 0) - 1;
      return row;
    }
    if ((this.#used + 1) * width > this.#words.length) {
      const grown = new Uint32Array(this.#words.length * 2);
      grown.set(this.#words);
      this.#words = grown;
    }
    return this.#used++;
  }
}

function home(namespace: number, a: number, b: number): number {
  const mixed = Math.imul(a ^ Math.imul(b, 0x9e3779b1) ^ Math.imul(namespace, 0xc2b2ae3d), 0x85ebca6b);
  return mixed ^ (mixed >>> 15);
}
