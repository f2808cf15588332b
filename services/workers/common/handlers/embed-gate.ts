import { StatorError } from '#lib/errors/errors.ts';

/** Bounds how many calls run at once. */
export class EmbedGate {
  #running = 0;

  /** Runs it now or throws `overloaded`. */
  async run<T>(limit: number, call: () => Promise<T>): Promise<T> {
    if (this.#running >= limit)
      throw new StatorError('overloaded', `${limit} such requests run already`, {
        retryAfterMs: 100,
        facts: { limit },
      });
    this.#running++;
    try {
      return await call();
    } finally {
      this.#running--;
    }
  }
}
