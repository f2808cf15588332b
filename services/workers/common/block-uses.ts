/** How many holders each block has, by its sequence hash. */
export class BlockUses {
  readonly #uses = new Map<bigint, number>();

  /** Different blocks. */
  get blocks(): number {
    return this.#uses.size;
  }

  /** How many of the blocks nobody has yet. */
  missing(hashes: BigUint64Array): number {
    return hashes.reduce((sum, hash) => sum + (this.#uses.has(hash) ? 0 : 1), 0);
  }

  count(hashes: BigUint64Array, change: 1 | -1): void {
    for (const hash of hashes) {
      const uses = (this.#uses.get(hash) ?? 0) + change;
      if (uses === 0) this.#uses.delete(hash);
      else this.#uses.set(hash, uses);
    }
  }
}
