import { StatorError } from '#lib/errors/errors.ts';

interface Waiting {
  readonly bytes: number;
  readonly resolve: () => void;
}

/** At most so many bytes at once; whoever finds none left waits in order of arrival. */
export class ByteBudget {
  readonly #limit: number;
  readonly #waiting = new Set<Waiting>();
  #used = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get used(): number {
    return this.#used;
  }

  /** Rejects with `overloaded` for more than there ever is, and when the signal aborts. Each take needs one `give`. */
  async take(bytes: number, signal: AbortSignal): Promise<void> {
    if (bytes > this.#limit) {
      const facts = { limit: this.#limit, actual: bytes };
      throw new StatorError('overloaded', `${bytes} bytes of KV are more than may be fetched at once.`, { facts });
    }
    if (this.#waiting.size === 0 && this.#used + bytes <= this.#limit) {
      this.#used += bytes;
      return;
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiting: Waiting = { bytes, resolve };
    const onAbort = (): void => {
      if (this.#waiting.delete(waiting)) reject(StatorError.from(signal.reason));
      this.#serve();
    };
    this.#waiting.add(waiting);
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    try {
      await promise;
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  give(bytes: number): void {
    this.#used -= bytes;
    this.#serve();
  }

  #serve(): void {
    for (const waiting of this.#waiting) {
      if (this.#used + waiting.bytes > this.#limit) return;
      this.#waiting.delete(waiting);
      this.#used += waiting.bytes;
      waiting.resolve();
    }
  }
}
