import { BlockError } from './block-error.ts';

/** Who reserves and reads: a worker (one Attach stream), or the block manager's own transfers. */
export interface Holder {
  readonly id: number;
  /** Small number that columns carry; used again when the holder is gone and nothing of it is left. */
  readonly index: number;
  readonly leases: Set<number>;
  /** The stream ended without proof that the process is dead: its slots wait. */
  lost: boolean;
}

/** Holders by id. Ids are never used again, so a late call of one that is gone is told apart. */
export class Holders {
  readonly #holders = new Map<number, Holder>();
  readonly #freeIndexes: number[] = [];
  #nextId = 1;
  #nextIndex = 0;

  /** Holders whose end is not complete. */
  get size(): number {
    return this.#holders.size;
  }

  attach(): Holder {
    const index = this.#freeIndexes.pop() ?? this.#nextIndex++;
    const holder: Holder = { id: this.#nextId++, index, leases: new Set(), lost: false };
    this.#holders.set(holder.id, holder);
    return holder;
  }

  /** One that may act. Throws BlockError `unknown_holder` for one that is gone, lost, or never was. */
  acting(id: number): Holder {
    const holder = this.#holders.get(id);
    if (holder === undefined || holder.lost)
      throw new BlockError('unknown_holder', `holder ${id} is not attached`, { holder: id });
    return holder;
  }

  /** Also one that is lost; undefined when nothing of it is left. */
  find(id: number): Holder | undefined {
    return this.#holders.get(id);
  }

  all(): Iterable<Holder> {
    return this.#holders.values();
  }

  forget(holder: Holder): void {
    if (this.#holders.delete(holder.id)) this.#freeIndexes.push(holder.index);
  }
}
