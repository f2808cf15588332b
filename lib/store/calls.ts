import { StatorError } from '#lib/errors/errors.ts';
import type { StoreMetrics, StoreOperation } from './metrics.ts';
import type { StoreBackendOptions } from './store.ts';

/** The calls of one store: counted and timed, none begun once it closes, all ended before it has closed. */
export class StoreCalls {
  readonly #metrics: StoreMetrics;
  readonly #running = new Set<Promise<unknown>>();
  readonly #sweeps: NodeJS.Timeout;
  #closing: Promise<void> | null = null;

  /** `sweep` deletes what expired, every now and then until the store closes. */
  constructor({ metrics, sweepMs, onSweepFailed }: StoreBackendOptions, sweep: () => Promise<void>) {
    this.#metrics = metrics;
    this.#sweeps = setInterval(() => void sweep().catch(onSweepFailed), sweepMs);
    this.#sweeps.unref();
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
    clearInterval(this.#sweeps);
    this.#closing ??= Promise.allSettled(this.#running).then(close);
    return this.#closing;
  }
}
