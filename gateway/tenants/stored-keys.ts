import { StatorError } from '#lib/errors/errors.ts';
import type { Store } from '#lib/store/store.ts';
import { type ApiKey, byId, type KeyEntry, keyEntry, keysOf } from './key-entry.ts';

const collection = 'api-keys';
/** Is written with every change, so that gateways need not read all keys to know of one. */
const changes = { collection: 'api-keys-changed', key: 'now' } as const;
const pageSize = 500;
const mostKeys = 100_000;
const mostTries = 20;

/** API keys in a store, for all gateways that use it: each one a document by its id, with its hash. */
export class StoredKeys {
  readonly #store: Store;
  #keys: ReadonlyMap<string, ApiKey> = new Map();
  #ids: ReadonlyMap<string, ApiKey> = new Map();
  #change = -1;
  #readMs = Number.NEGATIVE_INFINITY;

  constructor(store: Store) {
    this.#store = store;
  }

  /** By SHA-256 of the key, as read last. */
  get keys(): ReadonlyMap<string, ApiKey> {
    return this.#keys;
  }

  get ids(): ReadonlyMap<string, ApiKey> {
    return this.#ids;
  }

  /**
   * Reads the keys again if any has changed, and in any case after `mostAgeMs`; whether it did. Throws
   * `storage_unavailable`, and `invalid_argument` for what is no key; then those read before stay.
   */
  async refresh(mostAgeMs: number): Promise<boolean> {
    const change = (await this.#store.get(changes.collection, changes.key))?.version ?? 0;
    if (change === this.#change && performance.now() - this.#readMs < mostAgeMs) return false;
    const refuse = (field: string, message: string): Error =>
      StatorError.invalid('apiKeysStore', `The store of keys: ${field}: ${message}`);
    this.#keys = keysOf(await this.list(), refuse);
    this.#ids = byId(this.#keys);
    this.#change = change;
    this.#readMs = performance.now();
    return true;
  }

  /** Every key, by id. Throws like `refresh`. */
  async list(): Promise<KeyEntry[]> {
    const entries: KeyEntry[] = [];
    let after: string | null = null;
    for (;;) {
      const page = await this.#store.list(collection, { after, limit: pageSize });
      for (const { key, value } of page) entries.push(entryOf(key, value));
      if (entries.length > mostKeys)
        throw StatorError.invalid('apiKeysStore', `The store of keys has more than ${mostKeys} keys.`);
      after = page.at(-1)?.key ?? null;
      if (page.length < pageSize) return entries;
    }
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
}

function missing(id: string): StatorError {
  return StatorError.notFound(`The store has no key ${id}. See: stator keys list`);
}

function bytesOf(entry: KeyEntry): Uint8Array {
  return Buffer.from(JSON.stringify(entry));
}

function entryOf(id: string, value: Uint8Array): KeyEntry {
  try {
    return keyEntry.parse(JSON.parse(Buffer.from(value).toString()));
  } catch (cause) {
    throw StatorError.invalid('apiKeysStore', `The store of keys: ${id} cannot be read.`, { cause });
  }
}
