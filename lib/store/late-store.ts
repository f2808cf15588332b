import { StatorError } from '#lib/errors/errors.ts';
import type { Counted, CountOptions, ListOptions, PutOptions, Store, StoredDocument } from './store.ts';

/** Between tries to open it. */
const retryMs = 1000;

/** A store that could not be opened yet: calls fail until one of them succeeds in opening it. */
export class LateStore implements Store {
  readonly #open: () => Promise<Store>;
  #opening: Promise<Store> | null = null;
  #failed: { readonly thrown: unknown; readonly atMs: number };
  #closed = false;

  /** `thrown`: why it could not be opened. */
  constructor(open: () => Promise<Store>, thrown: unknown) {
    this.#open = open;
    this.#failed = { thrown, atMs: performance.now() };
  }

  async get(collection: string, key: string): Promise<StoredDocument | null> {
    return (await this.#opened()).get(collection, key);
  }

  async put(collection: string, key: string, value: Uint8Array, options?: PutOptions): Promise<number> {
    return (await this.#opened()).put(collection, key, value, options);
  }

  async delete(collection: string, key: string, options?: { readonly ifVersion?: number }): Promise<boolean> {
    return (await this.#opened()).delete(collection, key, options);
  }

  async deletePrefix(collection: string, prefix: string): Promise<number> {
    return (await this.#opened()).deletePrefix(collection, prefix);
  }

  async list(collection: string, options: ListOptions): Promise<readonly StoredDocument[]> {
    return (await this.#opened()).list(collection, options);
  }

  async count(counter: string, amount: number, options: CountOptions): Promise<Counted> {
    return (await this.#opened()).count(counter, amount, options);
  }

  async close(): Promise<void> {
    this.#closed = true;
    const store = await this.#opening?.catch(() => null);
    await store?.close();
  }

  #opened(): Promise<Store> {
    if (this.#closed) return Promise.reject(new StatorError('storage_unavailable', 'The store is closed.'));
    if (this.#opening !== null) return this.#opening;
    if (performance.now() - this.#failed.atMs < retryMs) return Promise.reject(this.#failed.thrown);
    const opening = this.#open();
    this.#opening = opening;
    opening.catch((thrown: unknown) => {
      this.#failed = { thrown, atMs: performance.now() };
      this.#opening = null;
    });
    return opening;
  }
}
