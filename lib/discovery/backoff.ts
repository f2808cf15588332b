import { setTimeout as sleep } from 'node:timers/promises';

/** Waits between tries: doubling from `firstMs` to `maximumMs`, each wait between half and all of that, at random. */
export class Backoff {
  readonly #firstMs: number;
  readonly #maximumMs: number;
  readonly #random: () => number;
  #nextMs: number;

  constructor(o: { firstMs: number; maximumMs: number; random?: () => number }) {
    this.#firstMs = Math.min(o.firstMs, o.maximumMs);
    this.#maximumMs = o.maximumMs;
    this.#random = o.random ?? Math.random;
    this.#nextMs = this.#firstMs;
  }

  /** Milliseconds of the next wait. */
  next(): number {
    const waitMs = this.#nextMs * (0.5 + this.#random() / 2);
    this.#nextMs = Math.min(this.#nextMs * 2, this.#maximumMs);
    return waitMs;
  }

  reset(): void {
    this.#nextMs = this.#firstMs;
  }

  /** Waits; returns early, without an error, when the signal aborts. */
  async wait(signal: AbortSignal): Promise<void> {
    await sleep(this.next(), undefined, { signal }).catch(() => undefined);
  }
}
