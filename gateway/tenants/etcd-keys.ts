import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { EtcdRecords } from '#lib/discovery/etcd-records.ts';
import type { EtcdOptions } from '#lib/discovery/etcd-target.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { KeyBook } from './key-book.ts';
import type { ApiKey, KeyEntry } from './key-entry.ts';
import { KeyRecords, readEntry } from './key-records.ts';
import type { KeySource } from './key-source.ts';

const collection = 'api-keys';
const mostTries = 20;
/** For the first listing; whoever starts without keys would let nobody in. */
const startMs = 15_000;

export interface EtcdKeysOptions {
  readonly namespace: string;
  readonly etcd: EtcdOptions;
  readonly log: Logger;
}

/** API keys in the etcd of discovery: a record each, followed, so that gateways have a change as soon as it is made. */
export class EtcdKeys implements KeySource, KeyBook {
  readonly #etcd: EtcdRecords;
  readonly #records: KeyRecords;
  readonly #answering: { value: boolean };
  #seenMs = Number.NEGATIVE_INFINITY;

  private constructor(etcd: EtcdRecords, log: Logger, answering: { value: boolean }) {
    this.#etcd = etcd;
    this.#records = new KeyRecords(log);
    this.#answering = answering;
  }

  /** Opens no connection yet. Throws `invalid_argument` for a URL that names no etcd. */
  static async open(url: string, { namespace, etcd: options, log }: EtcdKeysOptions): Promise<EtcdKeys> {
    const answering = { value: true };
    const metrics = {
      connected: {
        set: (connected: boolean) => {
          answering.value = connected;
        },
      },
      reconnects: { inc: () => {} },
    };
    const etcd = await EtcdRecords.open(url, { namespace, collection, log, metrics, etcd: options });
    return new EtcdKeys(etcd, log, answering);
  }

  get keys(): ReadonlyMap<string, ApiKey> {
    return this.#records.keys;
  }

  get ids(): ReadonlyMap<string, ApiKey> {
    return this.#records.ids;
  }

  get problem(): string | null {
    return this.#answering.value ? this.#records.problem : 'etcd with the API keys does not answer';
  }

  get refused(): number {
    return this.#records.refused;
  }

  get seenMs(): number {
    return this.#seenMs;
  }

  /** Reads the keys and follows their changes. Throws `storage_unavailable`, or what etcd refuses. */
  async start(): Promise<void> {
    const records = this.#records;
    const followed = this.#etcd.follow({
      replaceAll: (all) => records.replaceAll(all.map(({ name, value }) => [name, value])),
      put: ({ name, value }) => records.put(name, value),
      remove: (name) => records.remove(name),
      alive: () => {
        this.#seenMs = performance.now();
      },
    });
    const started = new AbortController();
    const late = sleep(startMs, true, { signal: started.signal }).catch(() => false);
    try {
      if (await Promise.race([followed.then(() => false), late]))
        throw new StatorError('storage_unavailable', 'The etcd with the API keys does not answer.');
    } finally {
      started.abort();
    }
  }

  async add(entry: KeyEntry): Promise<void> {
    await this.#etcd.put(entry.id, bytesOf(entry), null);
  }

  async list(onRefused: (id: string, problem: string) => void): Promise<KeyEntry[]> {
    const entries: KeyEntry[] = [];
    for (const { name, value } of await this.#etcd.list()) {
      const read = readEntry(name, value);
      if (typeof read === 'string') onRefused(name, read);
      else entries.push(read);
    }
    return entries;
  }

  async change(id: string, change: (entry: KeyEntry) => KeyEntry): Promise<void> {
    for (let tries = 1; ; tries++) {
      const found = await this.#etcd.get(id);
      if (found === null) throw missing(id);
      const read = readEntry(id, found.value);
      if (typeof read === 'string')
        throw StatorError.invalid('apiKeysStore', `The key ${id} in etcd cannot be read: ${read}`);
      try {
        return await this.#etcd.put(id, bytesOf(change(read)), found.revision);
      } catch (thrown) {
        if (StatorError.from(thrown).code !== 'conflict' || tries >= mostTries) throw thrown;
      }
    }
  }

  async remove(id: string): Promise<void> {
    if (!(await this.#etcd.delete(id))) throw missing(id);
  }

  async close(): Promise<void> {
    await this.#etcd.close();
  }
}

function missing(id: string): StatorError {
  return StatorError.notFound(`etcd has no key ${id}. See: stator keys list`);
}

function bytesOf(entry: KeyEntry): Uint8Array {
  return Buffer.from(JSON.stringify(entry));
}
