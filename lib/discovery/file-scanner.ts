import { type FSWatcher, watch as watchDirectory } from 'node:fs';
import { mkdir, readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import type { Logger } from 'pino';
import type { Instance } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { decodeEntry, isEntryName, isMissing, isTemporaryName, removeFile } from './file-entry.ts';
import type { InstanceTable } from './table.ts';

/** An entry larger than this is not read. */
const MAX_ENTRY_BYTES = 8 * 1024 * 1024;
/** Files that are looked at together. */
const CONCURRENCY = 16;

export interface FileScannerOptions {
  readonly directory: string;
  readonly namespace: string;
  readonly ttlMs: number;
  readonly pollMs: number;
  readonly notices: boolean;
  readonly removeAfterMs: number;
  readonly log: Logger;
  readonly table: InstanceTable;
}

/** What the scanner knows of one file. */
interface Entry {
  /** Changes with every heartbeat and every write. */
  signature: string;
  /** The instance, or undefined while the bytes are unreadable. */
  instance: Instance | undefined;
  bytes: Buffer | undefined;
  /** Milliseconds of the observer's own watching without a sign of life. */
  silentMs: number;
  /** Not reported up until its next heartbeat: either silent too long, or old already at first sight. */
  down: boolean;
}

/**
 * Follows a folder of entries. Change notices make it quick; polling makes it right, on network file systems too.
 *
 * Ages are never taken from clocks of two parties: an entry is silent while its times do not change, and the silence is
 * counted in the observer's monotonic time, at most two polling intervals for each look. So neither a clock that jumps nor
 * an observer that was stopped for an hour declares anybody dead.
 */
export class FileScanner {
  readonly #o: FileScannerOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #noticed = new Set<string>();
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;
  #noticeQueued = false;
  #lastScan: number | undefined;
  #failing = false;
  #closed = false;

  constructor(o: FileScannerOptions) {
    this.#o = o;
  }

  start(): void {
    this.#timer = setInterval(() => void this.#look(() => this.#scan()), this.#o.pollMs);
    this.#timer.unref();
    void this.#look(() => this.#scan());
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#timer);
    this.#watcher?.close();
    await this.#looking;
  }

  /** One look at a time; a poll that comes during another is left out. */
  async #look(work: () => Promise<void>): Promise<void> {
    if (this.#looking !== undefined || this.#closed) return;
    this.#looking = work().catch((error) => this.#o.log.error({ err: error }, 'discovery folder scan failed'));
    await this.#looking;
    this.#looking = undefined;
    if (this.#noticed.size > 0) this.#queueNotices();
  }

  async #scan(): Promise<void> {
    const names = await this.#list();
    if (this.#closed) return;
    const elapsedMs = this.#observedMs();
    if (names !== undefined) {
      for (const name of [...this.#entries.keys()]) if (!names.has(name)) this.#gone(name);
      await this.#inspectAll([...names]);
    }
    await this.#age(elapsedMs);
    if (names !== undefined && !this.#closed) this.#o.table.markSynced();
  }

  /** Monotonic time since the last look, capped: time in which nobody was looking proves nothing. */
  #observedMs(): number {
    const now = performance.now();
    const elapsedMs = this.#lastScan === undefined ? 0 : now - this.#lastScan;
    this.#lastScan = now;
    return Math.min(elapsedMs, 2 * this.#o.pollMs);
  }

  /** Names of the entries, or undefined when the folder cannot be read: then nothing is concluded from what is not seen. */
  async #list(): Promise<Set<string> | undefined> {
    try {
      const names = await readdir(this.#o.directory);
      this.#watchFolder();
      this.#recovered();
      return new Set(names.filter((name) => isEntryName(name) || isTemporaryName(name)));
    } catch (error) {
      this.#watcher?.close();
      this.#watcher = undefined;
      if (isMissing(error) && this.#entries.size === 0) return this.#createFolder();
      this.#failed(error);
      return undefined;
    }
  }

  async #createFolder(): Promise<Set<string> | undefined> {
    try {
      await mkdir(this.#o.directory, { recursive: true, mode: 0o700 });
      this.#watchFolder();
      this.#recovered();
      return new Set();
    } catch (error) {
      this.#failed(error);
      return undefined;
    }
  }

  #failed(error: unknown): void {
    this.#o.table.metrics.connected.set(false);
    if (!this.#failing)
      this.#o.log.warn({ err: error, directory: this.#o.directory }, 'discovery folder cannot be read');
    this.#failing = true;
  }

  #recovered(): void {
    this.#o.table.metrics.connected.set(true);
    if (!this.#failing) return;
    this.#failing = false;
    this.#o.table.metrics.reconnects.inc();
    this.#o.log.info({ directory: this.#o.directory }, 'discovery folder can be read again');
  }

  async #inspectAll(names: readonly string[]): Promise<void> {
    for (let start = 0; start < names.length; start += CONCURRENCY) {
      await Promise.all(names.slice(start, start + CONCURRENCY).map((name) => this.#inspect(name)));
    }
  }

  async #inspect(name: string): Promise<void> {
    try {
      const file = path.join(this.#o.directory, name);
      const facts = await stat(file, { bigint: true });
      const signature = `${facts.ino}/${facts.size}/${facts.mtimeNs}/${facts.ctimeNs}`;
      const known = this.#entries.get(name);
      if (known?.signature === signature) return;
      const bytes = facts.size > MAX_ENTRY_BYTES || isTemporaryName(name) ? undefined : await readFile(file);
      if (this.#closed) return;
      const oldAtFirstSight = known === undefined && Date.now() - Number(facts.mtimeMs) > this.#o.ttlMs;
      this.#seen(name, signature, bytes, oldAtFirstSight);
    } catch (error) {
      if (isMissing(error)) this.#gone(name);
      else this.#o.log.warn({ err: error, file: name }, 'discovery entry cannot be read');
    }
  }

  /** A new file, or a sign of life of a known one. */
  #seen(name: string, signature: string, bytes: Buffer | undefined, oldAtFirstSight: boolean): void {
    const known = this.#entries.get(name);
    const entry = known ?? { signature, instance: undefined, bytes: undefined, silentMs: 0, down: false };
    this.#entries.set(name, entry);
    const unchanged = entry.bytes !== undefined && bytes !== undefined && entry.bytes.equals(bytes);
    entry.signature = signature;
    entry.bytes = bytes;
    entry.silentMs = 0;
    entry.down = oldAtFirstSight;
    if (!unchanged && bytes !== undefined) this.#decode(name, entry, bytes);
    if (entry.instance !== undefined && !entry.down) this.#o.table.put(entry.instance);
  }

  /** Unreadable bytes leave what was known of the instance as it was. */
  #decode(name: string, entry: Entry, bytes: Buffer): void {
    try {
      entry.instance = decodeEntry(name, this.#o.namespace, bytes);
    } catch (error) {
      this.#o.table.metrics.invalidEntries.inc();
      this.#o.log.warn({ err: error, file: name }, 'discovery entry is not a valid instance and is ignored');
    }
  }

  #gone(name: string): void {
    const entry = this.#entries.get(name);
    this.#entries.delete(name);
    if (entry?.instance !== undefined) this.#o.table.remove(entry.instance.instanceId, 'withdrawn');
  }

  /** Counts silence; takes down who was silent for the TTL, and removes much later what no owner claims. */
  async #age(elapsedMs: number): Promise<void> {
    for (const [name, entry] of [...this.#entries]) {
      entry.silentMs += elapsedMs;
      if (!entry.down && entry.silentMs > this.#o.ttlMs) {
        entry.down = true;
        if (entry.instance !== undefined) this.#o.table.remove(entry.instance.instanceId, 'expired');
      }
      if (entry.silentMs <= this.#o.removeAfterMs) continue;
      this.#o.log.info({ file: name }, 'removing discovery entry without an owner');
      await removeFile(path.join(this.#o.directory, name)).catch((error) =>
        this.#o.log.warn({ err: error, file: name }, 'discovery entry could not be removed'),
      );
      this.#entries.delete(name);
    }
  }

  #watchFolder(): void {
    if (this.#watcher !== undefined || this.#closed || !this.#o.notices) return;
    try {
      const watcher = watchDirectory(this.#o.directory, { persistent: false }, (_, name) => this.#notice(name));
      watcher.on('error', (error) => {
        this.#o.log.warn({ err: error }, 'no change notices for the discovery folder, polling goes on');
        watcher.close();
        if (this.#watcher === watcher) this.#watcher = undefined;
      });
      this.#watcher = watcher;
    } catch (error) {
      this.#o.log.debug({ err: error }, 'no change notices for the discovery folder, polling goes on');
    }
  }

  #notice(name: string | null): void {
    if (name === null || !isEntryName(name)) return;
    this.#noticed.add(name);
    this.#queueNotices();
  }

  #queueNotices(): void {
    if (this.#noticeQueued || this.#closed) return;
    this.#noticeQueued = true;
    setImmediate(() => {
      this.#noticeQueued = false;
      void this.#look(async () => {
        const names = [...this.#noticed];
        this.#noticed.clear();
        await this.#inspectAll(names);
      });
    });
  }
}
