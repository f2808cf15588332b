import type { BlockChain } from '#core/blocks/chain.ts';

/** Who said that it has which blocks: a question is answered for a while. The oldest go first. */
export class Routes {
  readonly #known = new Map<string, { readonly node: bigint; readonly untilMs: number }>();
  readonly #limit: number;
  readonly #lifetimeMs: number;

  constructor(limit: number, lifetimeMs: number) {
    this.#limit = limit;
    this.#lifetimeMs = lifetimeMs;
  }

  /** The node has `count` blocks of the chain from `from` on. */
  learn(chain: BlockChain, from: number, count: number, node: bigint, nowMs: number): void {
    for (let at = from; at < from + count; at++) {
      const key = keyOf(chain, at);
      this.#known.delete(key);
      this.#known.set(key, { node, untilMs: nowMs + this.#lifetimeMs });
    }
    for (const key of this.#known.keys()) {
      if (this.#known.size <= this.#limit) break;
      this.#known.delete(key);
    }
  }

  find(chain: BlockChain, at: number, nowMs: number): bigint | undefined {
    const known = this.#known.get(keyOf(chain, at));
    return known !== undefined && known.untilMs > nowMs ? known.node : undefined;
  }

  forget(chain: BlockChain, from: number, count: number): void {
    for (let at = from; at < from + count; at++) this.#known.delete(keyOf(chain, at));
  }
}

function keyOf({ namespace, digests }: BlockChain, at: number): string {
  return `${namespace} ${digests.subarray(4 * at, 4 * at + 4).join(' ')}`;
}
