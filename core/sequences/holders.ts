/** The requests of one slot that hold a node. */
export interface Holder {
  readonly slot: number;
  count: number;
  /** Sum of their numbers: where one is left, it is that one's number. */
  requestSum: number;
}

/** Who holds a node, by slot. Most nodes have a single slot, and those need no map. */
export class Holders {
  #only: Holder | undefined;
  #bySlot: Map<number, Holder> | undefined;

  /** Slots that hold the node. */
  get size(): number {
    return this.#bySlot?.size ?? (this.#only === undefined ? 0 : 1);
  }

  add(slot: number, request: number): Holder {
    const holder = this.#find(slot) ?? this.#insert(slot);
    holder.count++;
    holder.requestSum += request;
    return holder;
  }

  /** The request must hold the node. */
  remove(slot: number, request: number): Holder {
    const holder = this.#find(slot);
    if (holder === undefined) throw new RangeError(`slot ${slot} does not hold the node`);
    holder.count--;
    holder.requestSum -= request;
    if (holder.count === 0) this.#delete(slot);
    return holder;
  }

  copy(): Holders {
    const copy = new Holders();
    for (const { slot, count, requestSum } of this.#all()) {
      const holder = copy.#insert(slot);
      holder.count = count;
      holder.requestSum = requestSum;
    }
    return copy;
  }

  /** Writes a value at every slot that holds the node. */
  write(bySlot: Uint32Array, value: number): void {
    if (this.#bySlot !== undefined) for (const slot of this.#bySlot.keys()) bySlot[slot] = value;
    else if (this.#only !== undefined) bySlot[this.#only.slot] = value;
  }

  #all(): Iterable<Holder> {
    return this.#bySlot?.values() ?? (this.#only === undefined ? [] : [this.#only]);
  }

  #find(slot: number): Holder | undefined {
    if (this.#bySlot !== undefined) return this.#bySlot.get(slot);
    return this.#only?.slot === slot ? this.#only : undefined;
  }

  #insert(slot: number): Holder {
    const holder = { slot, count: 0, requestSum: 0 };
    if (this.#bySlot !== undefined) this.#bySlot.set(slot, holder);
    else if (this.#only === undefined) this.#only = holder;
    else {
      this.#bySlot = new Map([
        [this.#only.slot, this.#only],
        [slot, holder],
      ]);
      this.#only = undefined;
    }
    return holder;
  }

  #delete(slot: number): void {
    if (this.#bySlot === undefined) {
      this.#only = undefined;
      return;
    }
    this.#bySlot.delete(slot);
    if (this.#bySlot.size !== 1) return;
    for (const holder of this.#bySlot.values()) this.#only = holder;
    this.#bySlot = undefined;
  }
}
