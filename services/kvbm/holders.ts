import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { Logger } from 'pino';
import type { BlockManager } from '#core/blocks/block-manager.ts';
import type { Hash64 } from '#core/blocks/record/block-header.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { type HostLocks, WriterLock } from './host-locks.ts';
import type { Layout } from './layout.ts';
import type { PresenceReader } from './presence.ts';

/** A worker that is attached, or whose writes may not be over. */
export interface AttachedHolder {
  readonly id: number;
  readonly instanceId: bigint;
  readonly name: string;
  readonly layout: Layout;
  readonly lock: WriterLock | undefined;
  /** Names its lock file in slots that it writes into. */
  readonly tag: bigint;
  /** Namespaces that it opened. */
  readonly namespaces: Set<number>;
  /** Monotonic milliseconds at which each of its leases ends if nobody releases it. */
  readonly leases: Map<number, number>;
  /** Its streams of events. */
  readonly readers: Set<PresenceReader>;
  /** Aborted when another Attach takes its place. */
  readonly replaced: AbortController;
  lost: boolean;
}

export interface HoldersOptions {
  readonly manager: BlockManager;
  readonly locks: HostLocks;
  readonly hash64: Hash64;
  /** Keeps the lock files of workers for a later life. */
  readonly file: string;
  readonly maxHolders: number;
  readonly maxLeases: number;
  readonly leaseMs: number;
  readonly nowMs: () => number;
  readonly onExpired: () => void;
  readonly log: Logger;
}

/** A process of an earlier life of the block manager that may still write. */
interface Ghost {
  readonly id: number;
  readonly lock: WriterLock;
}

/** Tag of slots that a worker without a lock file writes into: nobody can tell when that is over. */
const noLock = 1n;

/** Who has rights. A right to commit ends with the stream; slots that were being written are reused when the process is gone. */
export class Holders {
  readonly #options: HoldersOptions;
  readonly #holders = new Map<number, AttachedHolder>();
  readonly #ghosts = new Map<bigint, Ghost>();

  constructor(options: HoldersOptions) {
    this.#options = options;
    for (const path of readPaths(options.file, options.log)) this.#haunt(path);
  }

  /** Holders and lost ones. */
  get size(): number {
    return this.#holders.size;
  }

  all(): Iterable<AttachedHolder> {
    return this.#holders.values();
  }

  /** Holder that stands for a process of an earlier life with that tag; undefined when it is gone. */
  ghostOf(tag: bigint): number | undefined {
    return this.#ghosts.get(tag)?.id;
  }

  /**
   * Makes a worker a holder. One that was attached under the same lock file, in this life or an earlier one, is at its end:
   * its writes are over. Throws StatorError.
   */
  attach(worker: { instanceId: bigint; name: string; lockFile: string }, layout: Layout): AttachedHolder {
    const { manager, locks, maxHolders } = this.#options;
    if (this.#holders.size >= maxHolders)
      throw new StatorError('overloaded', `${maxHolders} workers are attached; more need --max-holders.`);
    const lock = worker.lockFile === '' ? undefined : new WriterLock(worker.lockFile, locks);
    if (lock !== undefined && !lock.isHeld) {
      lock.close();
      throw StatorError.invalid('lock_file', `Nobody holds the lock of ${worker.lockFile}.`);
    }
    if (lock !== undefined) this.#replace(lock.key);
    const holder: AttachedHolder = {
      id: manager.attach(),
      instanceId: worker.instanceId,
      name: worker.name,
      layout,
      lock,
      tag: lock === undefined ? noLock : this.#tag(lock.path),
      namespaces: new Set(),
      leases: new Map(),
      readers: new Set(),
      replaced: new AbortController(),
      lost: false,
    };
    this.#holders.set(holder.id, holder);
    this.#save();
    return holder;
  }

  /** One that may act. Throws StatorError `not_found`. */
  acting(id: bigint): AttachedHolder {
    const holder = this.#holders.get(Number(id));
    if (holder !== undefined && !holder.lost) return holder;
    throw StatorError.notFound(`Holder ${id} is not attached.`, {
      field: 'holder_id',
      facts: { reason: 'unknown_holder' },
    });
  }

  /** Throws StatorError `overloaded` when a holder has too many leases. */
  checkLeases(holder: AttachedHolder): void {
    const { maxLeases } = this.#options;
    if (holder.leases.size >= maxLeases)
      throw new StatorError('overloaded', `The worker has ${maxLeases} leases; more need --max-leases.`);
  }

  /** A lease was given to a holder. */
  lend(holder: AttachedHolder, lease: number): void {
    holder.leases.set(lease, this.#options.nowMs() + this.#options.leaseMs);
  }

  /** Ends a lease; false when the holder does not have it (any more). */
  giveBack(holder: AttachedHolder, lease: number): boolean {
    if (!holder.leases.delete(lease)) return false;
    this.#options.manager.release(holder.id, lease);
    return true;
  }

  /** A stream ended: leases and the right to commit end now. */
  end(holder: AttachedHolder): void {
    if (this.#holders.get(holder.id) !== holder || holder.lost) return;
    const { manager, log } = this.#options;
    holder.leases.clear();
    const isOver = manager.writing(holder.id) === 0 || (holder.lock !== undefined && !holder.lock.isHeld);
    manager.detach(holder.id, isOver);
    if (isOver) this.#forget(holder);
    else {
      holder.lost = true;
      log.warn({ holder: holder.name, slots: manager.writing(holder.id) }, 'a worker is lost that may still write');
    }
  }

  /** Ends leases that are too old. Looks at the locks of lost holders and of processes of earlier lives, and frees the slots of those that are gone. */
  poll(): void {
    const { nowMs, onExpired } = this.#options;
    for (const holder of this.#holders.values())
      for (const [lease, endsMs] of holder.leases) if (endsMs <= nowMs() && this.giveBack(holder, lease)) onExpired();
    for (const holder of this.#holders.values())
      if (holder.lost && holder.lock !== undefined && !holder.lock.isHeld) this.#finish(holder);
    for (const [tag, { id, lock }] of this.#ghosts) if (!lock.isHeld) this.#exorcise(tag, id, lock);
  }

  close(): void {
    for (const { lock } of this.#holders.values()) lock?.close();
    for (const { lock } of this.#ghosts.values()) lock.close();
    this.#holders.clear();
    this.#ghosts.clear();
  }

  /** Whoever had this lock file before has none of its writes under way any more. */
  #replace(key: string): void {
    for (const holder of this.#holders.values()) {
      if (holder.lock?.key !== key) continue;
      holder.replaced.abort();
      this.#finish(holder);
    }
    for (const [tag, { id, lock }] of this.#ghosts) if (lock.key === key) this.#exorcise(tag, id, lock);
  }

  #finish(holder: AttachedHolder): void {
    const { manager, log } = this.#options;
    const slots = manager.writing(holder.id);
    manager.detach(holder.id, true);
    this.#forget(holder);
    if (slots > 0) log.info({ holder: holder.name, slots }, 'slots of a lost worker are free again');
  }

  #forget(holder: AttachedHolder): void {
    holder.lock?.close();
    this.#holders.delete(holder.id);
    this.#save();
  }

  #haunt(path: string): void {
    const { manager, locks } = this.#options;
    try {
      const lock = new WriterLock(path, locks);
      if (lock.isHeld) this.#ghosts.set(this.#tag(path), { id: manager.attach(), lock });
      else lock.close();
    } catch {
      // A lock file that is gone was removed by its process at its end.
    }
  }

  #exorcise(tag: bigint, id: number, lock: WriterLock): void {
    this.#options.manager.detach(id, true);
    this.#ghosts.delete(tag);
    lock.close();
    this.#save();
  }

  #tag(path: string): bigint {
    const tag = this.#options.hash64(Buffer.from(path));
    return tag > noLock ? tag : tag + 2n;
  }

  #save(): void {
    const locks = [...this.#holders.values(), ...this.#ghosts.values()].map(({ lock }) => lock?.path);
    const paths = [...new Set(locks.filter((path) => path !== undefined))];
    const { file } = this.#options;
    writeFileSync(`${file}.new`, JSON.stringify(paths), { mode: 0o600 });
    renameSync(`${file}.new`, file);
  }
}

function readPaths(file: string, log: Logger): string[] {
  try {
    const paths: unknown = JSON.parse(readFileSync(file, 'utf8'));
    return Array.isArray(paths) ? paths.filter((path) => typeof path === 'string') : [];
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') log.warn({ err: error, file }, 'writers cannot be read');
    return [];
  }
}
