import { none } from './slot-lists.ts';

/** A binary heap of the slots of one arena, smallest key first; any slot leaves in O(log n), nothing is an object. */
export class SlotHeap {
  readonly #heap: Uint32Array;
  readonly #places: Int32Array;
  readonly #keys: Float64Array;
  #size = 0;

  constructor(slots: number) {
    this.#heap = new Uint32Array(slots);
    this.#places = new Int32Array(slots).fill(none);
    this.#keys = new Float64Array(slots);
  }

  get size(): number {
    return this.#size;
  }

  get bytes(): number {
    return this.#heap.byteLength + this.#places.byteLength + this.#keys.byteLength;
  }

  has(slot: number): boolean {
    return this.#places[slot] !== none;
  }

  /** Slot of the smallest key; -1 when the heap is empty. */
  first(): number {
    return this.#size === 0 ? none : (this.#heap[0] ?? none);
  }

  /** Adds a slot that is not in the heap. */
  add(slot: number, key: number): void {
    this.#keys[slot] = key;
    this.#up(this.#size++, slot);
  }

  /** False when the slot is not in the heap. */
  remove(slot: number): boolean {
    const hole = this.#places[slot] ?? none;
    if (hole === none) return false;
    this.#places[slot] = none;
    const last = this.#heap[--this.#size] ?? 0;
    if (last !== slot) {
      this.#up(hole, last);
      this.#down(this.#places[last] ?? 0, last);
    }
    return true;
  }

  #up(from: number, slot: number): void {
    const key = this.#keys[slot] ?? 0;
    let at = from;
    while (at > 0) {
      const parent = this.#heap[(at - 1) >> 1] ?? 0;
      if ((this.#keys[parent] ?? 0) <= key) break;
      this.#put(parent, at);
      at = (at - 1) >> 1;
    }
    this.#put(slot, at);
  }

  #down(from: number, slot: number): void {
    const key = this.#keys[slot] ?? 0;
    let at = from;
    for (let child = 2 * at + 1; child < this.#size; child = 2 * at + 1) {
      if (child + 1 < this.#size && this.#keyAt(child + 1) < this.#keyAt(child)) child++;
      if (this.#keyAt(child) >= key) break;
      this.#put(this.#heap[child] ?? 0, at);
      at = child;
    }
    this.#put(slot, at);
  }

  #keyAt(at: number): number {
    return this.#keys[this.#heap[at] ?? 0] ?? 0;
  }

  #put(slot: number, at: number): void {
    this.#heap[at] = slot;
    this.#places[slot] = at;
  }
}
