import { CompareResult, CompareTarget, type IKeyValue } from 'etcd3';
import type { Logger } from 'pino';
import { StatorError } from '#lib/errors/errors.ts';
import { Backoff } from './backoff.ts';
import { refusalOf } from './etcd-errors.ts';
import { endOfPrefix, recordsPrefix } from './etcd-keys.ts';
import { type EtcdConnection, EtcdLink, type LinkMetrics } from './etcd-link.ts';
import { checkCredentials, type EtcdOptions, type EtcdTarget, parseEtcdTarget } from './etcd-target.ts';
import { EtcdWatcher } from './etcd-watcher.ts';
import { checkNamespace } from './validate.ts';

export interface EtcdRecordsOptions {
  readonly namespace: string;
  /** What the records are; a part of their keys. */
  readonly collection: string;
  readonly log: Logger;
  readonly metrics: LinkMetrics;
  readonly etcd: EtcdOptions;
}

export interface EtcdRecord {
  readonly name: string;
  readonly value: Uint8Array;
  /** Of its last change. */
  readonly revision: string;
}

/** What following records tells, in the order of the changes. */
export interface RecordListener {
  replaceAll(records: readonly EtcdRecord[]): void;
  put(record: EtcdRecord): void;
  remove(name: string): void;
  /** etcd answered: what was told still holds. */
  alive(): void;
}

const requestTimeoutMs = 5000;
const progressMs = 2000;
const auditMs = 30_000;
const pageRecords = 500;

/** Whether a URL names an etcd. */
export function isEtcdUrl(url: string): boolean {
  return /^etcds?:/.test(url);
}

/** Small documents beside the instances of discovery, which stay until somebody takes them away: `/stator/v1/<namespace>/<collection>/<name>`. */
export class EtcdRecords {
  readonly #target: EtcdTarget;
  readonly #prefix: Buffer;
  readonly #link: EtcdLink;
  #watcher: EtcdWatcher | undefined;

  private constructor(target: EtcdTarget, o: EtcdRecordsOptions) {
    this.#target = target;
    this.#prefix = Buffer.from(recordsPrefix(checkNamespace(o.namespace), o.collection));
    this.#link = new EtcdLink({ target, requestTimeoutMs, log: o.log, metrics: o.metrics });
  }

  /** Throws `invalid_argument` for a URL that names no etcd. */
  static async open(url: string, o: EtcdRecordsOptions): Promise<EtcdRecords> {
    const rest = url.slice(url.indexOf(':') + 1);
    const target = parseEtcdTarget(rest, { tls: url.startsWith('etcds:'), options: o.etcd });
    await checkCredentials(target);
    return new EtcdRecords(target, o);
  }

  /**
   * Tells what is there and then every change, until `close`, whatever happens to etcd meanwhile. Resolves once the first
   * was told; rejects where etcd refuses before that.
   */
  follow(listener: RecordListener): Promise<void> {
    const synced = Promise.withResolvers<void>();
    this.#watcher = new EtcdWatcher({
      link: this.#link,
      prefix: this.#prefix.toString(),
      progressMs,
      auditMs,
      backoff: new Backoff({ firstMs: 250, maximumMs: 5000 }),
      sink: {
        replaceAll: (kvs) => {
          listener.replaceAll(kvs.map((kv) => this.#recordOf(kv)));
          synced.resolve();
        },
        put: (kv) => listener.put(this.#recordOf(kv)),
        remove: (key) => listener.remove(this.#nameOf(key)),
        alive: () => listener.alive(),
        failed: (error) => {
          const refusal = refusalOf(error);
          if (refusal !== undefined) synced.reject(refusal);
        },
      },
    });
    this.#watcher.start();
    return synced.promise;
  }

  /** All records, by name. Throws `storage_unavailable`, like everything that follows, and what etcd refuses. */
  async list(): Promise<EtcdRecord[]> {
    const records: EtcdRecord[] = [];
    let key = this.#prefix;
    let revision: string | undefined;
    for (;;) {
      const range = { key, range_end: endOfPrefix(this.#prefix), limit: pageRecords };
      const page = await this.#call(({ etcd }) =>
        etcd.kv.range({ ...range, ...(revision === undefined ? {} : { revision }) }, this.#link.request),
      );
      revision ??= page.header.revision;
      for (const kv of page.kvs) records.push(this.#recordOf(kv));
      const last = page.kvs.at(-1);
      if (!page.more || last === undefined) return records;
      key = Buffer.concat([last.key, Buffer.of(0)]);
    }
  }

  async get(name: string): Promise<EtcdRecord | null> {
    const { kvs } = await this.#call(({ etcd }) => etcd.kv.range({ key: this.#keyOf(name) }, this.#link.request));
    const [kv] = kvs;
    return kv === undefined ? null : this.#recordOf(kv);
  }

  /** Writes over this revision only; null: only where there is none. Throws `conflict`. */
  async put(name: string, value: Uint8Array, overRevision: string | null): Promise<void> {
    const key = this.#keyOf(name);
    const bytes = Buffer.from(value);
    const compare = { key, target: CompareTarget.Mod, result: CompareResult.Equal, mod_revision: overRevision ?? '0' };
    const request = { compare: [compare], success: [{ request_put: { key, value: bytes } }], failure: [] };
    let asked = 0;
    const { succeeded } = await this.#call(({ etcd }) => {
      asked += 1;
      return etcd.kv.txn(request, this.#link.request);
    });
    if (succeeded) return;
    // One that was made again may have been heard the first time.
    const found = asked > 1 ? await this.get(name) : null;
    if (found === null || !bytes.equals(found.value))
      throw new StatorError('conflict', `etcd has another record ${name} by now`);
  }

  /** Whether there was one. */
  async delete(name: string): Promise<boolean> {
    const key = this.#keyOf(name);
    const { deleted } = await this.#call(({ etcd }) => etcd.kv.deleteRange({ key }, this.#link.request));
    return Number(deleted) > 0;
  }

  async close(): Promise<void> {
    const watcher = this.#watcher?.close();
    this.#link.close();
    await watcher;
  }

  /** Asks one endpoint after the other. */
  async #call<T>(work: (connection: EtcdConnection) => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      let connection: EtcdConnection | undefined;
      try {
        connection = await this.#link.connection();
        const answer = await work(connection);
        this.#link.succeeded('calls');
        return answer;
      } catch (error) {
        this.#link.failed('calls', error, connection);
        const refusal = refusalOf(error);
        if (refusal !== undefined) throw refusal;
        if (tries > this.#target.endpoints.length)
          throw new StatorError('storage_unavailable', 'etcd does not answer.', { cause: error });
      }
    }
  }

  #keyOf(name: string): Buffer {
    return Buffer.concat([this.#prefix, Buffer.from(name)]);
  }

  #nameOf(key: Buffer): string {
    return key.subarray(this.#prefix.length).toString();
  }

  #recordOf({ key, value, mod_revision: revision }: IKeyValue): EtcdRecord {
    return { name: this.#nameOf(key), value, revision };
  }
}
