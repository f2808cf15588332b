import { setTimeout as sleep } from 'node:timers/promises';
import { StatorError } from '#lib/errors/errors.ts';
import type { Store, StoredDocument } from '#lib/store/store.ts';
import {
  bounded,
  emptyShard,
  joined,
  type SessionChange,
  type Shard,
  type ShardBounds,
  told,
} from './account-shard.ts';

export const collection = 'agent-sessions';

const mostTries = 8;

export interface ShardOptions {
  readonly store: Store;
  readonly key: string;
  /** Of this process. */
  readonly gateway: string;
  readonly leaseMs: number;
  readonly mostSessions: number;
  readonly ttlMs: number;
  readonly nowMs: () => number;
  readonly onExchange: (outcome: 'ok' | 'conflict' | 'failed') => void;
}

/**
 * One document of the store as this gateway knows it, and what it has yet to tell. What was told keeps the number of its
 * exchange until it is known to have arrived, so that it counts once, however late the store hears of it.
 */
export class ShardExchange {
  readonly #o: ShardOptions;
  /** What the next write rests on; null: it is to be read. */
  #base: { readonly shard: Shard; readonly version: number } | null = null;
  /** The latest that was read or written. */
  #view: { readonly shard: Shard; readonly version: number; readonly readMs: number } = {
    ...{ shard: emptyShard, version: 0, readMs: Number.NEGATIVE_INFINITY },
  };
  #pending = new Map<string, SessionChange>();
  #unsure: { readonly exchange: number; readonly changes: ReadonlyMap<string, SessionChange> } | null = null;
  #exchanges = 0;
  #toldMs = Number.NEGATIVE_INFINITY;
  #exchanging: Promise<void> | null = null;

  constructor(options: ShardOptions) {
    this.#o = options;
  }

  /** Changes that wait for the store. */
  get waiting(): number {
    return this.#pending.size + (this.#unsure?.changes.size ?? 0);
  }

  /** Milliseconds since the store knew last that this gateway lives. */
  get silentMs(): number {
    return performance.now() - this.#toldMs;
  }

  /** False: there is no room for more of them. */
  add(key: string, change: SessionChange): boolean {
    const before = this.#pending.get(key);
    if (before === undefined && this.#pending.size >= this.#o.mostSessions) return false;
    this.#pending.set(key, before === undefined ? change : joined(before, change));
    return true;
  }

  /** Tells what there is to tell. Throws where the store fails; then it is told later. */
  exchange(): Promise<void> {
    this.#exchanging ??= this.#exchange().finally(() => {
      this.#exchanging = null;
    });
    return this.#exchanging;
  }

  /** Reads the document again, unless that was done so lately. A store that fails leaves what was known. */
  async refresh(mostAgeMs: number): Promise<void> {
    if (this.#isFresh(mostAgeMs)) return;
    const askedMs = performance.now();
    this.see(await this.#o.store.get(collection, this.#o.key), askedMs);
  }

  /** The document as somebody read it; null: it is not there. */
  see(document: StoredDocument | null, readMs: number): void {
    // What expired holds nothing that is still shown; what is older than what we wrote was asked for before that.
    const isNewer = document !== null && document.version >= this.#view.version;
    if (document !== null && isNewer) this.#view = { shard: shardOf(document), version: document.version, readMs };
    else this.#view = { ...this.#view, readMs };
  }

  /** What is known, with what was not told yet. */
  shown(): Shard {
    const { shard } = this.#view;
    const unsure = this.#unsure;
    const arrived = unsure === null || shard.gateways[this.#o.gateway]?.exchange === unsure.exchange;
    const sure = unsure === null || arrived ? shard : told(shard, unsure.changes, this.#telling(unsure.exchange));
    if (this.#pending.size === 0) return bounded(sure, this.#bounds());
    return told(sure, this.#pending, this.#telling(this.#exchanges + 1));
  }

  #isFresh(mostAgeMs: number): boolean {
    return performance.now() - this.#view.readMs <= mostAgeMs;
  }

  async #exchange(): Promise<void> {
    const { store, key, gateway, ttlMs, leaseMs, onExchange } = this.#o;
    for (let tries = 1; ; tries++) {
      try {
        const base = this.#base ?? (await this.#read());
        if (this.#unsure === null) {
          this.#exchanges += 1;
          this.#unsure = { exchange: this.#exchanges, changes: this.#pending };
          this.#pending = new Map();
        }
        const { exchange, changes } = this.#unsure;
        if (base.shard.gateways[gateway]?.exchange !== exchange) {
          const shard = told(base.shard, changes, this.#telling(exchange));
          const expiresUnixMs = this.#o.nowMs() + ttlMs + leaseMs;
          const value = Buffer.from(JSON.stringify(shard));
          const version = await store.put(collection, key, value, { ifVersion: base.version, expiresUnixMs });
          this.#base = { shard, version };
        }
        this.#unsure = null;
        this.#view = { ...(this.#base ?? base), readMs: performance.now() };
        this.#toldMs = performance.now();
        onExchange('ok');
        return;
      } catch (thrown) {
        this.#base = null;
        const isConflict = StatorError.from(thrown).code === 'conflict';
        onExchange(isConflict ? 'conflict' : 'failed');
        if (!isConflict || tries >= mostTries) throw thrown;
        await sleep(Math.random() * 10 * tries);
      }
    }
  }

  async #read(): Promise<{ readonly shard: Shard; readonly version: number }> {
    const document = await this.#o.store.get(collection, this.#o.key);
    const base =
      document === null ? { shard: emptyShard, version: 0 } : { shard: shardOf(document), version: document.version };
    this.#base = base;
    return base;
  }

  #bounds(): ShardBounds {
    const { ttlMs, mostSessions, nowMs } = this.#o;
    return { nowMs: nowMs(), ttlMs, mostSessions };
  }

  #telling(exchange: number): Parameters<typeof told>[2] {
    const { gateway, leaseMs } = this.#o;
    return { ...this.#bounds(), gateway, exchange, leaseMs };
  }
}

/** Throws `storage_unavailable` for what no gateway wrote. */
function shardOf({ value }: StoredDocument): Shard {
  try {
    const { sessions, gateways } = JSON.parse(Buffer.from(value).toString()) as Shard;
    return { sessions: { ...sessions }, gateways: { ...gateways } };
  } catch (cause) {
    throw new StatorError('storage_unavailable', 'Accounts of sessions in the store cannot be read.', { cause });
  }
}
