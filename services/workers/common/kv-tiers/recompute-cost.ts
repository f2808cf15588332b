import type { Prefilled } from '../engine.ts';
import type { TrackedSequence } from './sequence-tokens.ts';

/** Share of a new measurement in the mean. */
const weight = 0.2;

/** What computing a block takes this engine, from the prompts that it computed. */
export class RecomputeCost {
  readonly #blockTokens: () => number;
  #tokenUs: number | undefined;

  constructor(blockTokens: () => number) {
    this.#blockTokens = blockTokens;
  }

  get blockUs(): number | undefined {
    return this.#tokenUs === undefined ? undefined : Math.max(1, Math.round(this.#tokenUs * this.#blockTokens()));
  }

  add({ request }: TrackedSequence, { cachedTokens, prefillUs }: Prefilled): void {
    const computed = request.tokenIds.length - cachedTokens;
    // Of few tokens one learns what a step costs, not what a token does.
    if (computed < 2 * this.#blockTokens()) return;
    const tokenUs = prefillUs / computed;
    this.#tokenUs = this.#tokenUs === undefined ? tokenUs : (1 - weight) * this.#tokenUs + weight * tokenUs;
  }
}
