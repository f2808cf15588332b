import { StatorError } from '#lib/errors/errors.ts';

/** Bounds how much runs at once and how much waits; more is refused. */
export class Gate {
  readonly #maxRunning: number;
  readonly #maxWaiting: number;
  readonly #waiting: PromiseWithResolvers<void>[] = [];
  #running = 0;

  constructor(o: { maxRunning: number; maxWaiting: number }) {
    this.#maxRunning = o.maxRunning;
    this.#maxWaiting = o.maxWaiting;
  }

  get running(): number {
    return this.#running;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** Runs a task when there is room. Throws `overloaded` when too many wait, and the signal's reason when the caller left. */
  async run<T>(signal: AbortSignal, task: () => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    if (this.#running < this.#maxRunning) this.#running++;
    else await this.#wait(signal);
    try {
      return await task();
    } finally {
      this.#leave();
    }
  }

  async #wait(signal: AbortSignal): Promise<void> {
    if (this.#waiting.length >= this.#maxWaiting) {
      throw new StatorError('overloaded', 'The tokenizer has too many requests waiting.', { retryAfterMs: 1000 });
    }
    const turn = Promise.withResolvers<void>();
    const giveUp = (): void => {
      const at = this.#waiting.indexOf(turn);
      if (at >= 0) this.#waiting.splice(at, 1);
      turn.reject(signal.reason);
    };
    signal.addEventListener('abort', giveUp, { once: true });
    this.#waiting.push(turn);
    await turn.promise.finally(() => signal.removeEventListener('abort', giveUp));
  }

  /** The next one takes over the place, so that nobody slips in between. */
  #leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#running--;
    else next.resolve();
  }
}
