import { isMap, isSeq } from 'yaml';
import type { KeyEntry } from '#gateway/tenants/key-entry.ts';
import { keyEntry } from '#gateway/tenants/key-entry.ts';
import { readKeyDocument } from '#gateway/tenants/key-file.ts';
import { StoredKeys } from '#gateway/tenants/stored-keys.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { openStore } from '#lib/store/open.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { openKeyDocument, saveKeyDocument } from './key-document.ts';

/** Where keys are kept. */
export interface KeyBook {
  add(entry: KeyEntry): Promise<void>;
  list(): Promise<readonly KeyEntry[]>;
  /** Throws `not_found`. */
  change(id: string, change: (entry: KeyEntry) => KeyEntry): Promise<void>;
  /** Throws `not_found`. */
  remove(id: string): Promise<void>;
}

export interface KeyPlace {
  readonly apiKeysFile: string;
  readonly apiKeysStore: string | undefined;
}

const maxBytes = 1024 ** 3;

/** Works with the keys of the store where one is named, else with those of the file. */
export async function withKeys<T>(place: KeyPlace, work: (book: KeyBook) => Promise<T>): Promise<T> {
  if (place.apiKeysStore === undefined) return work(new KeyFile(place.apiKeysFile));
  if (place.apiKeysStore === 'memory:')
    throw StatorError.invalid('apiKeysStore', 'A store in memory ends with this command: name one that lasts.');
  const store = await openStore(place.apiKeysStore, { telemetry: quietTelemetry(), maxBytes });
  try {
    return await work(new StoredKeys(store));
  } finally {
    await store.close();
  }
}

class KeyFile implements KeyBook {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  async add(entry: KeyEntry): Promise<void> {
    const document = openKeyDocument(this.#path);
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
