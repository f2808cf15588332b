import type { Store } from '#lib/store/store.ts';
import { tenantCollection } from '../tenant-collection.ts';

export type ResultKind = 'output' | 'error';

/** Results that are read at once when files are made of them. */
const pageSize = 50;

/** Results of a batch's requests, kept one by one until they are files: what was answered is not asked again. */
export class BatchResults {
  readonly #store: Store;
  readonly #id: string;
  readonly #collection = tenantCollection('batch-results');

  constructor(store: Store, id: string) {
    this.#store = store;
    this.#id = id;
  }

  /** `line`: the request's place in the input, from 0. */
  async put(line: number, kind: ResultKind, json: string, expiresUnixMs: number): Promise<void> {
    const value = Buffer.from(`${kind === 'output' ? 'o' : 'e'}${json}\n`);
    await this.#store.put(this.#collection, this.#key(line), value, { expiresUnixMs });
  }

  /** Lines that have a result, with its kind. */
  async known(): Promise<Map<number, ResultKind>> {
    const known = new Map<number, ResultKind>();
    for await (const { key, value } of this.#all()) known.set(Number(key.slice(-8)), kindOf(value));
    return known;
  }

  /** The lines of one kind, in the order of the input. */
  async *lines(kind: ResultKind): AsyncGenerator<Uint8Array> {
    for await (const { value } of this.#all()) if (kindOf(value) === kind) yield value.subarray(1);
  }

  async clear(): Promise<void> {
    await this.#store.deletePrefix(this.#collection, `${this.#id}/`);
  }

  async *#all(): AsyncGenerator<{ key: string; value: Uint8Array }> {
    for (let after: string | null = null; ; ) {
      const page: readonly { key: string; value: Uint8Array }[] = await this.#store.list(this.#collection, {
        prefix: `${this.#id}/`,
        after,
        limit: pageSize,
      });
      yield* page;
      after = page.at(-1)?.key ?? null;
      if (after === null) return;
    }
  }

  #key(line: number): string {
    return `${this.#id}/${line.toString().padStart(8, '0')}`;
  }
}

function kindOf(value: Uint8Array): ResultKind {
  return value[0] === 'o'.charCodeAt(0) ? 'output' : 'error';
}
