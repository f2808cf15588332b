import type { Logger } from 'pino';
import { StatorError } from '#lib/errors/errors.ts';
import type { Store, StoredDocument } from '#lib/store/store.ts';
import type { KeyBook } from './key-book.ts';
import type { ApiKey, KeyEntry } from './key-entry.ts';
import { KeyRecords, readEntry } from './key-records.ts';
import type { KeySource } from './key-source.ts';

const collection = 'api-keys';
/** Is written with every change, so that gateways need not read all keys to know of one. */
const changes = { collection: 'api-keys-changed', key: 'now' } as const;
const pageSize = 500;
const mostTries = 20;

/** Changes are told; this long one that was not may go unseen. */
const mostAgeMs = 60_000;

/** API keys in a store, for all gateways that use it: each one a document by its id, with its hash. */
export class StoredKeys implements KeySource, KeyBook {
  readonly #store: Store;
  readonly #log: Logger;
  readonly #records: KeyRecords;
  #timer: NodeJS.Timeout | null = null;
  #refreshing: Promise<void> | null = null;
  #change = -1;
  #readMs = Number.NEGATIVE_INFINITY;
  #seenMs = Number.NEGATIVE_INFINITY;
  #failure: string | null = null;

  constructor(store: Store, log: Logger) {
    this.#store = store;
    this.#log = log;
    this.#records = new KeyRecords(log);
  }

  get keys(): ReadonlyMap<string, ApiKey> {
    return this.#records.keys;
  }

  get ids(): ReadonlyMap<string, ApiKey> {
    return this.#records.ids;
  }

  get problem(): string | null {
    return this.#failure ?? this.#records.problem;
  }

  get refused(): number {
    return this.#records.refused;
  }

  get seenMs(): number {
    return this.#seenMs;
  }

  /** Reads the keys, and again whenever they changed, looking so often. Throws `storage_unavailable` the first time. */
  async start(reloadMs: number): Promise<void> {
    await this.#refresh();
    this.#timer = setInterval(() => {
      this.#refreshing ??= this.#tryRefresh().finally(() => {
        this.#refreshing = null;
      });
    }, reloadMs).unref();
  }

  async close(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer);
    await this.#refreshing;
  }

  /** Every key, by id; `onRefused` is told of what is none. */
  async list(onRefused: (id: string, problem: string) => void): Promise<KeyEntry[]> {
    const entries: KeyEntry[] = [];
    for await (const { key, value } of this.#documents()) {
      const read = readEntry(key, value);
      if (typeof read === 'string') onRefused(key, read);
      else entries.push(read);
    }
    return entries;
  }

  /** Adds a key. Throws `conflict` where there is one of that id. */
  async add(entry: KeyEntry): Promise<void> {
    await this.#store.put(collection, entry.id, bytesOf(entry), { ifVersion: 0 });
    await this.#changed();
  }

  /** Changes a key in one step. Throws `not_found`. */
  async change(id: string, change: (entry: KeyEntry) => KeyEntry): Promise<void> {
    for (let tries = 1; ; tries++) {
      const found = await this.#store.get(collection, id);
      if (found === null) throw missing(id);
      try {
        await this.#store.put(collection, id, bytesOf(change(entryOf(id, found.value))), { ifVersion: found.version });
        return await this.#changed();
      } catch (thrown) {
        if (StatorError.from(thrown).code !== 'conflict' || tries >= mostTries) throw thrown;
      }
    }
  }

  /** Takes a key away. Throws `not_found`. */
  async remove(id: string): Promise<void> {
    if (!(await this.#store.delete(collection, id))) throw missing(id);
    await this.#changed();
  }

  async #changed(): Promise<void> {
    await this.#store.put(changes.collection, changes.key, new Uint8Array());
  }

  async #tryRefresh(): Promise<void> {
    try {
      await this.#refresh();
      if (this.#failure !== null) this.#log.info('the store of API keys answers again');
      this.#failure = null;
    } catch (thrown) {
      if (this.#failure === null)
        this.#log.error({ err: thrown }, 'the store of API keys cannot be used; the old keys stay');
      this.#failure = StatorError.from(thrown).message;
    }
  }

  async #refresh(): Promise<void> {
    const askedMs = performance.now();
    const change = (await this.#store.get(changes.collection, changes.key))?.version ?? 0;
    if (change !== this.#change || askedMs - this.#readMs >= mostAgeMs) {
      const documents: [string, Uint8Array][] = [];
      for await (const { key, value } of this.#documents()) documents.push([key, value]);
      this.#records.replaceAll(documents);
      this.#change = change;
      this.#readMs = askedMs;
    }
    this.#seenMs = askedMs;
  }

  async *#documents(): AsyncGenerator<StoredDocument> {
    let after: string | null = null;
    for (;;) {
      const page = await this.#store.list(collection, { after, limit: pageSize });
      yield* page;
      after = page.at(-1)?.key ?? null;
      if (page.length < pageSize) return;
    }
  }
}

function missing(id: string): StatorError {
  return StatorError.notFound(`The store has no key ${id}. See: stator keys list`);
}

function bytesOf(entry: KeyEntry): Uint8Array {
  return Buffer.from(JSON.stringify(entry));
}

/** The entry of a document that is to be changed. Throws `invalid_argument`. */
function entryOf(id: string, value: Uint8Array): KeyEntry {
  const read = readEntry(id, value);
  if (typeof read !== 'string') return read;
  throw StatorError.invalid('apiKeysStore', `The store of keys: ${id} cannot be read: ${read}`);
}
