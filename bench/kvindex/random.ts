/** Numbers from a seed, the same everywhere: sfc32, https://pracrand.sourceforge.net/RNG_engines.txt. */
export class Random {
  readonly #state: Uint32Array;

  constructor(seed: number) {
    this.#state = Uint32Array.of(seed, 0x243f6a88, 0xb7e15162, 1);
    for (let i = 0; i < 16; i++) this.below(1);
  }

  /** From 0 up to, not including, `limit`. */
  below(limit: number): number {
    const [a = 0, b = 0, c = 0, counter = 0] = this.#state;
    const sum = (a + b + counter) >>> 0;
    this.#state.set([b ^ (b >>> 9), c + (c << 3), ((c << 21) | (c >>> 11)) + sum, counter + 1]);
    return Math.floor((sum / 0x1_0000_0000) * limit);
  }

  shuffle(values: unknown[]): void {
    for (let i = values.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [values[i], values[j]] = [values[j], values[i]];
    }
  }
}
