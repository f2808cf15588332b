import { StatorError } from '#lib/errors/errors.ts';
import type { StoreMetrics, StoreOperation } from './metrics.ts';

/** The calls of one store: counted and timed, none begun once it closes, all ended before it has closed. */
export class StoreCalls {
  readonly #metrics: StoreMetrics;
  readonly #running = new Set<Promise<unknown>>();
  #closing: Promise<void> | null = null;

  constructor(metrics: StoreMetrics) {
    this.#metrics = metrics;
  }

  get closing(): boolean {
    return this.#closing !== null;
  }

  async run<T>(operation: StoreOperation, call: () => Promise<T>): Promise<T> {
    if (this.#closing !== null) throw new StatorError('storage_unavailable', 'The store is closed.');
    const { operations, seconds } = this.#metrics;
    const began = performance.now();
    const running = call();
    this.#running.add(running);
    try {
      const answer = await running;
      operations.inc({ operation, outcome: 'ok' });
      return answer;
    } catch (thrown) {
      const error = StatorError.from(thrown);
      operations.inc({ operation, outcome: error.code });
      throw error;
    } finally {
      this.#running.delete(running);
      seconds.observe({ operation }, (performance.now() - began) / 1000);
    }
  }

  /** Idempotent; `close` once all calls have ended. */
  close(close: () => Promise<void>): Promise<void> {
    this.#closing ??= Promise.allSettled(this.#running).then(close);
    return this.#closing;
  }
}
