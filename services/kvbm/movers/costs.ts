import type { SourceCost } from '#core/blocks/onboarding/plan.ts';

export interface CostGuess {
  readonly latencyMs: number;
  readonly bytesPerMs: number;
}

/** Weight of what was measured last. */
const newest = 0.2;

/** How long a source takes, as lately measured: until its first block is there, and for each further one. */
export class SourceCosts {
  #latencyMs: number;
  #msPerByte: number;

  /** `guess` stands until something was measured. */
  constructor(guess: CostGuess) {
    this.#latencyMs = guess.latencyMs;
    this.#msPerByte = 1 / guess.bytesPerMs;
  }

  /** A load of `blocks` blocks: the first was there after `firstMs`, all after `totalMs`. */
  measured(blocks: number, blockBytes: number, firstMs: number, totalMs: number): void {
    if (blocks < 1) return;
    if (blocks > 1) this.#msPerByte += newest * ((totalMs - firstMs) / ((blocks - 1) * blockBytes) - this.#msPerByte);
    const latencyMs = Math.max(0, firstMs - blockBytes * this.#msPerByte);
    this.#latencyMs += newest * (latencyMs - this.#latencyMs);
  }

  cost(blockBytes: number): SourceCost {
    return { latencyMs: this.#latencyMs, blockMs: blockBytes * this.#msPerByte };
  }
}
