import type { IEvent, IKeyValue } from 'etcd3';
import { Backoff } from './backoff.ts';
import { endOfPrefix } from './etcd-keys.ts';
import type { EtcdConnection, EtcdLink } from './etcd-link.ts';
import { followRange, WatchRestart } from './etcd-watch-stream.ts';

/** Keys of one answer to a listing: an instance with many cards is large. */
const PAGE_KEYS = 100;

/** What a watcher tells of the keys with its prefix, in the order of the changes. */
export interface RangeSink {
  /** All that is there. */
  replaceAll(kvs: readonly IKeyValue[]): void;
  put(kv: IKeyValue): void;
  remove(key: Buffer): void;
  /** etcd answered: what was told still holds. */
  alive?(): void;
  /** Following broke off and is tried again. */
  failed?(error: unknown): void;
}

export interface EtcdWatcherOptions {
  readonly link: EtcdLink;
  readonly prefix: string;
  readonly progressMs: number;
  readonly auditMs: number;
  readonly backoff: Backoff;
  readonly sink: RangeSink;
}

/**
 * Keeps the sink equal to what etcd holds: lists, then watches from the revision after the listing, and does both again
 * after anything that ends the watch. So nothing falls between the two, and a lost piece of history does not matter.
 */
export class EtcdWatcher {
  readonly #o: EtcdWatcherOptions;
  readonly #prefix: Buffer;
  readonly #end: Buffer;
  readonly #shutdown = new AbortController();
  /** Revision of the last change of every key that is there. */
  readonly #revisions = new Map<string, string>();
  #running: Promise<void> | undefined;

  constructor(o: EtcdWatcherOptions) {
    this.#o = o;
    this.#prefix = Buffer.from(o.prefix);
    this.#end = endOfPrefix(this.#prefix);
  }

  start(): void {
    this.#running ??= this.#run();
  }

  async close(): Promise<void> {
    this.#shutdown.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { link, backoff } = this.#o;
    const { signal } = this.#shutdown;
    while (!signal.aborted) {
      let connection: EtcdConnection | undefined;
      try {
        connection = await link.connection();
        await this.#listAndFollow(connection);
      } catch (error) {
        if (signal.aborted) return;
        link.failed('watch', error, connection);
        this.#o.sink.failed?.(error);
        await backoff.wait(signal);
      }
    }
  }

  async #listAndFollow(connection: EtcdConnection): Promise<void> {
    const revision = await this.#list(connection);
    const stopAudit = new AbortController();
    const signal = AbortSignal.any([this.#shutdown.signal, stopAudit.signal]);
    const followed = followRange(connection, {
      range: { key: this.#prefix, range_end: this.#end, start_revision: String(BigInt(revision) + 1n) },
      progressMs: this.#o.progressMs,
      signal,
      created: () => {
        this.#o.backoff.reset();
        this.#o.link.succeeded('watch');
      },
      event: (event) => this.#apply(event),
      alive: () => this.#o.sink.alive?.(),
    });
    try {
      await Promise.race([followed, this.#audit(connection, signal)]);
    } finally {
      stopAudit.abort();
      await followed.catch(() => undefined);
    }
  }

  /** Takes over all that is there; returns the revision at which that was so. */
  async #list(connection: EtcdConnection): Promise<string> {
    const kvs: IKeyValue[] = [];
    const revision = await this.#readAll(connection, false, (kv) => kvs.push(kv));
    if (this.#shutdown.signal.aborted) return revision;
    this.#revisions.clear();
    for (const kv of kvs) this.#revisions.set(kv.key.toString('utf8'), kv.mod_revision);
    this.#o.sink.replaceAll(kvs);
    this.#o.sink.alive?.();
    return revision;
  }

  /** Reads the range in pages, all at the revision of the first. */
  async #readAll(connection: EtcdConnection, keysOnly: boolean, take: (kv: IKeyValue) => void): Promise<string> {
    let revision: string | undefined;
    let key = this.#prefix;
    while (true) {
      const answer = await connection.etcd.kv.range(
        {
          key,
          range_end: this.#end,
          limit: PAGE_KEYS,
          keys_only: keysOnly,
          ...(revision === undefined ? {} : { revision }),
        },
        this.#o.link.request,
      );
      revision ??= answer.header.revision;
      for (const kv of answer.kvs) take(kv);
      const last = answer.kvs.at(-1);
      if (!answer.more || last === undefined) return revision;
      key = Buffer.concat([last.key, Buffer.of(0)]);
    }
  }

  #apply(event: IEvent): void {
    const { kv } = event;
    // Its type says `Delete`, the wire `DELETE`.
    if (event.type.toUpperCase() === 'DELETE') {
      this.#revisions.delete(kv.key.toString('utf8'));
      this.#o.sink.remove(kv.key);
      return;
    }
    this.#revisions.set(kv.key.toString('utf8'), kv.mod_revision);
    this.#o.sink.put(kv);
  }

  /**
   * Compares the keys that a quorum knows with those the watch has told of, now and then. A difference that is there twice
   * was not just on its way: something was lost, and the watch starts over.
   */
  async #audit(connection: EtcdConnection, signal: AbortSignal): Promise<void> {
    let before = new Set<string>();
    const pause = new Backoff({ firstMs: this.#o.auditMs, maximumMs: this.#o.auditMs });
    while (true) {
      await pause.wait(signal);
      if (signal.aborted) return;
      const differences = await this.#differences(connection);
      if ([...differences].some((difference) => before.has(difference))) {
        throw new WatchRestart('etcd holds what the watch did not tell of');
      }
      before = differences;
    }
  }

  async #differences(connection: EtcdConnection): Promise<Set<string>> {
    const stored = new Map<string, string>();
    await this.#readAll(connection, true, (kv) => stored.set(kv.key.toString('utf8'), kv.mod_revision));
    const differences = new Set<string>();
    for (const [key, revision] of stored)
      if (this.#revisions.get(key) !== revision) differences.add(`${key} ${revision}`);
    for (const [key, revision] of this.#revisions) if (!stored.has(key)) differences.add(`${key} ${revision} gone`);
    return differences;
  }
}
