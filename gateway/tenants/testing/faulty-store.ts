import { StatorError } from '#lib/errors/errors.ts';
import type { Store } from '#lib/store/store.ts';

/** A store that can be made to fail, to lose its answers, or to say nothing for a while. */
export class FaultyStore implements Store {
  readonly inner: Store;
  fault: 'none' | 'down' | 'mute' | 'slow' = 'none';
  delayMs = (): number => 0;
  gate: Promise<void> = Promise.resolve();
  puts = 0;

  constructor(inner: Store) {
    this.inner = inner;
  }

  async #through<T>(call: () => Promise<T>): Promise<T> {
    await this.gate;
    if (this.fault === 'slow') await new Promise((resolve) => setTimeout(resolve, this.delayMs()));
    if (this.fault === 'down') throw new StatorError('storage_unavailable', 'down');
    const answer = await call();
    if (this.fault === 'mute') throw new StatorError('storage_unavailable', 'mute');
    return answer;
  }

  readonly get: Store['get'] = (...args) => this.#through(() => this.inner.get(...args));
  readonly put: Store['put'] = (...args) => {
    this.puts += 1;
    return this.#through(() => this.inner.put(...args));
  };
  readonly delete: Store['delete'] = (...args) => this.#through(() => this.inner.delete(...args));
  readonly deletePrefix: Store['deletePrefix'] = (...args) => this.#through(() => this.inner.deletePrefix(...args));
  readonly list: Store['list'] = (...args) => this.#through(() => this.inner.list(...args));
  readonly count: Store['count'] = (...args) => this.#through(() => this.inner.count(...args));
  readonly close: Store['close'] = () => this.inner.close();
}
