import { existsSync } from 'node:fs';
import { isMap, isSeq } from 'yaml';
import type { KeyBook } from '#gateway/tenants/key-book.ts';
import type { KeyEntry } from '#gateway/tenants/key-entry.ts';
import { keyEntry } from '#gateway/tenants/key-entry.ts';
import { readKeyDocument } from '#gateway/tenants/key-file.ts';
import { type KeyPlace, openKeyPlace } from '#gateway/tenants/key-place.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { openStore } from '#lib/store/open.ts';
import type { Store } from '#lib/store/store.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { openKeyDocument, saveKeyDocument } from './key-document.ts';

export interface KeyPlaces extends KeyPlace {
  readonly apiKeysFile: string;
}

const maxBytes = 1024 ** 3;

/** Works with the keys of the store where one is named, else with those of the file. */
export async function withKeys<T>(place: KeyPlaces, work: (book: KeyBook) => Promise<T>): Promise<T> {
  if (place.apiKeysStore === 'memory:')
    throw StatorError.invalid('apiKeysStore', 'A store in memory ends with this command: name one that lasts.');
  const telemetry = quietTelemetry();
  const opened: Store[] = [];
  const open = async (url: string): Promise<Store> => {
    const store = await openStore(url, { telemetry, maxBytes });
    opened.push(store);
    return store;
  };
  const stored = await openKeyPlace(place, { log: telemetry.log, openStore: open });
  try {
    return await work(stored ?? new KeyFile(place.apiKeysFile));
  } finally {
    await stored?.close();
    for (const store of opened) await store.close();
  }
}

class KeyFile implements KeyBook {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  async add(entry: KeyEntry): Promise<void> {
    const document = openKeyDocument(this.#path);
    const isThere = existsSync(this.#path) && readKeyDocument(this.#path).keys.some(({ id }) => id === entry.id);
    if (isThere) throw new StatorError('conflict', `${this.#path} has a key ${entry.id} already.`);
    document.addIn(['keys'], document.createNode(entry));
    saveKeyDocument(this.#path, document);
  }

  async list(): Promise<readonly KeyEntry[]> {
    return readKeyDocument(this.#path).keys;
  }

  async change(id: string, change: (entry: KeyEntry) => KeyEntry): Promise<void> {
    const { document, at } = this.#find(id);
    const entry = keyEntry.parse(readKeyDocument(this.#path).keys[at]);
    document.setIn(['keys', at], document.createNode(change(entry)));
    saveKeyDocument(this.#path, document);
  }

  async remove(id: string): Promise<void> {
    const { document, at } = this.#find(id);
    document.deleteIn(['keys', at]);
    saveKeyDocument(this.#path, document);
  }

  #find(id: string): { document: ReturnType<typeof openKeyDocument>; at: number } {
    const document = openKeyDocument(this.#path);
    const keys = document.get('keys');
    const at = isSeq(keys) ? keys.items.findIndex((item) => isMap(item) && item.get('id') === id) : -1;
    if (at < 0) throw StatorError.notFound(`${this.#path} has no key ${id}. See: stator keys list`);
    return { document, at };
  }
}
