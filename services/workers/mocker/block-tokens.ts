interface Entry {
  readonly tokens: readonly number[];
  readonly adapter: string;
  /** Sequences that may still store the block. */
  users: number;
  /** Tiers that have it, as bits. */
  tiers: number;
}

/** Tokens of blocks by sequence hash, for events that name them: kept while a sequence has the block or a tier holds it. */
export class BlockTokens {
  readonly #entries = new Map<bigint, Entry>();
  /** Blocks that left a tier: the same batch may store them in another. */
  readonly #removed = new Set<bigint>();

  get size(): number {
    return this.#entries.size;
  }

  /** A sequence may store the block. */
  use(hash: bigint, adapter: string, tokens: () => readonly number[]): void {
    const entry = this.#entries.get(hash);
    if (entry === undefined) this.#entries.set(hash, { tokens: tokens(), adapter, users: 1, tiers: 0 });
    else entry.users++;
  }

  /** A sequence that used the block is over. */
  release(hash: bigint): void {
    const entry = this.#entries.get(hash);
    if (entry === undefined) return;
    entry.users--;
    this.#dropUnused(hash, entry);
  }

  /** Tokens of a block that entered a tier. */
  stored(hash: bigint, tier: number): readonly number[] {
    const entry = this.#entries.get(hash);
    if (entry === undefined) return [];
    entry.tiers |= 1 << tier;
    return entry.tokens;
  }

  removed(hash: bigint, tier: number): void {
    const entry = this.#entries.get(hash);
    if (entry === undefined) return;
    entry.tiers &= ~(1 << tier);
    this.#removed.add(hash);
  }

  /** A batch of events is over: what is in no tier any more is forgotten. */
  settle(): void {
    for (const hash of this.#removed) {
      const entry = this.#entries.get(hash);
      if (entry !== undefined) this.#dropUnused(hash, entry);
    }
    this.#removed.clear();
  }

  /** Empty: none. */
  adapterOf(hash: bigint): string {
    return this.#entries.get(hash)?.adapter ?? '';
  }

  #dropUnused(hash: bigint, entry: Entry): void {
    if (entry.users === 0 && entry.tiers === 0) this.#entries.delete(hash);
  }
}
