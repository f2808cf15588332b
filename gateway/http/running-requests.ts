import { StatorError } from '#lib/errors/errors.ts';

/** Requests that are being answered, by whatever API they came: their number has one bound, and none begins while the gateway ends. */
export class RunningRequests {
  readonly #most: number;
  readonly #draining: AbortSignal;
  #running = 0;

  constructor(most: number, draining: AbortSignal) {
    this.#most = most;
    this.#draining = draining;
  }

  get size(): number {
    return this.#running;
  }

  /** Runs a request's work. Throws `draining` or `overloaded` instead where none is taken. */
  async run<T>(work: () => Promise<T> | T): Promise<T> {
    const leave = this.enter();
    try {
      return await work();
    } finally {
      leave();
    }
  }

  /** Counts a request until the answer is called, once. Throws like `run`. */
  enter(): () => void {
    this.#running += 1;
    const leave = (): void => {
      this.#running -= 1;
    };
    try {
      this.#check();
      return leave;
    } catch (thrown) {
      leave();
      throw thrown;
    }
  }

  #check(): void {
    if (this.#draining.aborted) {
      throw new StatorError('draining', 'The gateway is shutting down. Retry elsewhere.', { retryAfterMs: 1000 });
    }
    if (this.#running <= this.#most) return;
    throw new StatorError('overloaded', `The gateway answers ${this.#most} requests already.`, { retryAfterMs: 1000 });
  }
}
