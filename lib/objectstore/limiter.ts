import { StatorError } from '#lib/errors/errors.ts';

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
}

/** Lets so many in at once and so many wait, first come first served. */
export class Limiter {
  readonly #most: number;
  readonly #mostWaiting: number;
  readonly #what: string;
  readonly #waiting = new Set<Waiter>();
  #inside = 0;

  /** `what` is waited for, for messages. */
  constructor(most: number, mostWaiting: number, what = 'object store') {
    this.#what = what;
    this.#most = most;
    this.#mostWaiting = mostWaiting;
  }

  get inside(): number {
    return this.#inside;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  /** Resolves when inside. Throws `overloaded` when too many wait, and the signal's reason when it aborts. */
  async enter(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#inside < this.#most) {
      this.#inside += 1;
      return;
    }
    if (this.#waiting.size >= this.#mostWaiting)
      throw new StatorError('overloaded', `${this.#what}: ${this.#waiting.size} requests wait already`);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiter = { resolve, reject };
    const abort = () => {
      if (this.#waiting.delete(waiter)) reject(signal.reason);
    };
    this.#waiting.add(waiter);
    signal.addEventListener('abort', abort, { once: true });
    await promise.finally(() => signal.removeEventListener('abort', abort));
  }

  /** The place goes to who waits longest. */
  leave(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#inside -= 1;
      return;
    }
    this.#waiting.delete(next);
    next.resolve();
  }
}
