/** One data parallel rank of a worker. */
export interface Rank {
  readonly instanceId: bigint;
  readonly dataParallelRank: number;
}

/** Small integers for the ranks of workers, so that accounts and costs are arrays. A freed number is used again. */
export class RankSlots {
  readonly #slots = new Map<bigint, Map<number, number>>();
  readonly #ranks: (Rank | undefined)[] = [];
  readonly #free: number[] = [];

  /** Numbers in use are below this. */
  get capacity(): number {
    return this.#ranks.length;
  }

  /** The rank's number; it gets one if it has none. */
  slotOf(instanceId: bigint, dataParallelRank: number): number {
    const ofWorker = this.#slots.get(instanceId) ?? new Map<number, number>();
    const known = ofWorker.get(dataParallelRank);
    if (known !== undefined) return known;
    const slot = this.#free.pop() ?? this.#ranks.length;
    this.#ranks[slot] = { instanceId, dataParallelRank };
    this.#slots.set(instanceId, ofWorker.set(dataParallelRank, slot));
    return slot;
  }

  rank(slot: number): Rank | undefined {
    return this.#ranks[slot];
  }

  slotsOf(instanceId: bigint): readonly number[] {
    return [...(this.#slots.get(instanceId)?.values() ?? [])];
  }

  /** Forgets a worker: its numbers may stand for others from now on. */
  release(instanceId: bigint): void {
    for (const slot of this.slotsOf(instanceId)) {
      this.#ranks[slot] = undefined;
      this.#free.push(slot);
    }
    this.#slots.delete(instanceId);
  }
}
