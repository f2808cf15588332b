/** No slot, no row. */
export const none = -1;

/**
 * Doubly linked lists over the slots of one arena, all in three columns: a slot is in at most one list, and joins, leaves
 * and moves in O(1) without an object. Lists come into being when they are first named.
 */
export class SlotLists {
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  /** List of a slot; -1 for none. */
  readonly #list: Int32Array;
  #heads = new Int32Array(0);
  #tails = new Int32Array(0);
  #sizes = new Int32Array(0);
  #size = 0;

  constructor(slots: number) {
    this.#next = new Int32Array(slots).fill(none);
    this.#previous = new Int32Array(slots).fill(none);
    this.#list = new Int32Array(slots).fill(none);
  }

  /** Slots in all lists. */
  get size(): number {
    return this.#size;
  }

  get bytes(): number {
    return 3 * this.#next.byteLength + 3 * this.#heads.byteLength;
  }

  sizeOf(list: number): number {
    return this.#sizes[list] ?? 0;
  }

  /** First slot of a list, the one that is longest in it; -1 when it is empty. */
  first(list: number): number {
    return this.#heads[list] ?? none;
  }

  /** Slot that joined the same list next; -1 after the last. */
  after(slot: number): number {
    return this.#next[slot] ?? none;
  }

  /** The list that a slot is in; -1 for none. */
  listOf(slot: number): number {
    return this.#list[slot] ?? none;
  }

  /** Puts a slot that is in no list at a list's end. */
  append(list: number, slot: number): void {
    if (list >= this.#heads.length) this.#grow(list + 1);
    const tail = this.#tails[list] ?? none;
    this.#previous[slot] = tail;
    this.#next[slot] = none;
    if (tail === none) this.#heads[list] = slot;
    else this.#next[tail] = slot;
    this.#tails[list] = slot;
    this.#list[slot] = list;
    this.#sizes[list] = (this.#sizes[list] ?? 0) + 1;
    this.#size++;
  }

  /** False when the slot is in no list. */
  remove(slot: number): boolean {
    const list = this.#list[slot] ?? none;
    if (list === none) return false;
    const previous = this.#previous[slot] ?? none;
    const next = this.#next[slot] ?? none;
    if (previous === none) this.#heads[list] = next;
    else this.#next[previous] = next;
    if (next === none) this.#tails[list] = previous;
    else this.#previous[next] = previous;
    this.#list[slot] = none;
    this.#sizes[list] = (this.#sizes[list] ?? 0) - 1;
    this.#size--;
    return true;
  }

  #grow(lists: number): void {
    const length = Math.max(lists, 2 * this.#heads.length, 16);
    const grown = (old: Int32Array, filler: number): Int32Array<ArrayBuffer> => {
      const column = new Int32Array(length).fill(filler);
      column.set(old);
      return column;
    };
    this.#heads = grown(this.#heads, none);
    this.#tails = grown(this.#tails, none);
    this.#sizes = grown(this.#sizes, 0);
  }
}
