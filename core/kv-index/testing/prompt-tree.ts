import type { Random } from './random.ts';

/** Prompts that share prefixes, as chains of hashes: what a hash stands for never changes. */
export class PromptTree {
  readonly #parents = new Map<bigint, bigint | undefined>();
  readonly #hashes: bigint[] = [];
  /** Chance that a new block continues the newest one; the lower, the bushier. */
  readonly #continues: number;

  constructor(random: Random, blocks: number, continues: number) {
    this.#continues = continues;
    while (this.#hashes.length < blocks) this.#grow(random);
  }

  #grow(random: Random): void {
    const hash = random.hash();
    if (this.#parents.has(hash)) return;
    const start = this.#hashes.length === 0 || random.chance(0.01);
    const newest = this.#hashes.at(-1);
    const parent = start ? undefined : random.chance(this.#continues) ? newest : random.pick(this.#hashes);
    this.#parents.set(hash, parent);
    this.#hashes.push(hash);
  }

  parentOf(hash: bigint): bigint | undefined {
    return this.#parents.get(hash);
  }

  /** The chain that ends at some block. */
  path(random: Random): BigUint64Array {
    const chain: bigint[] = [];
    for (let at: bigint | undefined = random.pick(this.#hashes); at !== undefined; at = this.#parents.get(at))
      chain.push(at);
    return BigUint64Array.from(chain.reverse());
  }

  /** A chain, mostly one of the tree's and then strange blocks. */
  prompt(random: Random): BigUint64Array {
    const known = random.chance(0.02) ? new BigUint64Array() : this.path(random);
    const strange = random.chance(0.5) ? Array.from({ length: random.below(8) }, () => random.hash()) : [];
    return BigUint64Array.from([...known, ...strange]);
  }

  any(random: Random): bigint {
    return random.pick(this.#hashes);
  }
}
