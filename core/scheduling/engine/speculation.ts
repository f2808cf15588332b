import type { EngineSettings } from './settings.ts';

/** How many tokens a pass gives a sequence: one, and speculative ones as long as each is accepted. */
export class Speculation {
  readonly #rates: readonly number[];
  #state: number;

  constructor({ acceptRates, seed }: EngineSettings) {
    this.#rates = acceptRates;
    this.#state = seed | 0;
  }

  /** At most `most`. */
  tokens(most: number): number {
    let tokens = 1;
    for (const rate of this.#rates) {
      if (rate < 1 && (rate <= 0 || this.#random() >= rate)) break;
      tokens++;
    }
    return Math.min(tokens, most);
  }

  /** Uniform in [0, 1): mulberry32. */
  #random(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }
}
