import { createHash, randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import type { Store } from '#lib/store/store.ts';
import { addedCounts, noCounts, runningOf, type SessionCounts, type Shard } from './account-shard.ts';
import type { SessionAccount } from './accounts.ts';
import type { SessionNaming } from './redact.ts';
import { countsOf, figuresOf, type ListedSessions, type SessionBook, type SessionFigures } from './session-book.ts';
import { collection, ShardExchange } from './shard-exchange.ts';

/** Documents that all sessions lie in, the same at every gateway. */
const shards = 64;
/** Sessions of one document at most: some hundred bytes each. */
const mostInShard = 2000;
/** How long what runs at a gateway is believed to without its saying so again. */
const leaseMs = 30_000;

export interface SharedSessionsOptions {
  readonly store: Store;
  readonly naming: SessionNaming;
  readonly maxSessions: number;
  readonly ttlMs: number;
  /** Milliseconds between exchanges; figures are no older. */
  readonly syncMs: number;
  readonly nowMs: () => number;
  readonly log: Logger;
  readonly onExchange: (outcome: 'ok' | 'conflict' | 'failed') => void;
  /** A change for which there was no room while the store was away. */
  readonly onLost: () => void;
}

/**
 * Accounts of sessions that gateways of one store keep together. Requests only note that an account changed; every
 * interval the changes are told, those of many sessions in one document. Reading asks the store once.
 */
export class SharedSessions implements SessionBook {
  readonly #o: SharedSessionsOptions;
  readonly #shards: readonly ShardExchange[];
  readonly #changed = new Set<SessionAccount>();
  /** What was told of accounts, or waits to be. */
  readonly #told = new WeakMap<SessionAccount, SessionCounts>();
  readonly #timer: NodeJS.Timeout;
  #syncing: Promise<void> | null = null;
  #isFailing = false;

  constructor(options: SharedSessionsOptions) {
    this.#o = options;
    const gateway = randomUUID();
    const { store, ttlMs, nowMs, onExchange, maxSessions, syncMs } = options;
    // Names fall unevenly.
    const mostSessions = Math.min(mostInShard, Math.ceil((maxSessions / shards) * 1.5) + 8);
    this.#shards = Array.from(
      { length: shards },
      (_, index) =>
        new ShardExchange({
          ...{ store, gateway, leaseMs, mostSessions, ttlMs, nowMs, onExchange },
          key: String(index).padStart(2, '0'),
        }),
    );
    this.#timer = setInterval(() => void this.sync(), syncMs).unref();
  }

  note(account: SessionAccount): void {
    this.#changed.add(account);
  }

  async list(tenant: string, limit: number): Promise<ListedSessions> {
    const readMs = performance.now();
    try {
      const documents = await this.#o.store.list(collection, { limit: shards });
      const byKey = new Map(documents.map((document) => [Number(document.key), document]));
      for (const [index, shard] of this.#shards.entries()) shard.see(byKey.get(index) ?? null, readMs);
    } catch (thrown) {
      this.#failed(thrown);
    }
    this.#collect();
    const nowMs = this.#o.nowMs();
    const all = this.#shards.flatMap((shard) => {
      const shown = shard.shown();
      const keys = Object.entries(shown.sessions).filter(([, session]) => session.tenant === tenant);
      return keys.map(([key]) => this.#figures(shown, key, nowMs)).filter((one) => one !== null);
    });
    all.sort((a, b) => b.lastUnixMs - a.lastUnixMs);
    return { data: all.slice(0, limit), sessions: all.length };
  }

  async get(tenant: string, sessionId: string): Promise<SessionFigures | null> {
    const key = keyOf(tenant, sessionId);
    const shard = this.#shardOf(key);
    // Its absence may be news of another gateway.
    await shard.refresh(0).catch((thrown: unknown) => this.#failed(thrown));
    this.#collect();
    return this.#figures(shard.shown(), key, this.#o.nowMs());
  }

  /** Tells everything that changed. Never rejects. */
  sync(): Promise<void> {
    this.#syncing ??= this.#sync().finally(() => {
      this.#syncing = null;
    });
    return this.#syncing;
  }

  /** Tells the rest. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#syncing;
    await this.sync();
  }

  async #sync(): Promise<void> {
    this.#collect();
    for (const shard of this.#shards) {
      if (shard.waiting === 0) continue;
      try {
        await shard.exchange();
        if (this.#isFailing) this.#o.log.info('accounts of sessions are shared again');
        this.#isFailing = false;
      } catch (thrown) {
        this.#failed(thrown);
        // The store is away for the others too.
        return;
      }
    }
  }

  /** Takes what changed into the shards; accounts that something runs for stay, so that others hear of them in time. */
  #collect(): void {
    for (const account of this.#changed) {
      const key = keyOf(account.tenant, account.sessionId);
      const shard = this.#shardOf(key);
      const counts = countsOf(account);
      const delta = addedCounts(counts, this.#told.get(account) ?? noCounts(), -1);
      const isNews = Object.values(delta).some((count) => count !== 0) || account.running === 0;
      if (isNews || shard.silentMs > leaseMs / 3) {
        if (!shard.add(key, { ...figuresOf(account, this.#o.naming), counts: delta })) this.#o.onLost();
        this.#told.set(account, counts);
      }
      if (account.running === 0) this.#changed.delete(account);
    }
  }

  #figures({ sessions, gateways }: Shard, key: string, nowMs: number): SessionFigures | null {
    const session = sessions[key];
    return session === undefined ? null : { ...session, running: runningOf(session, gateways, nowMs) };
  }

  #shardOf(key: string): ShardExchange {
    const shard = this.#shards[Number.parseInt(key.slice(0, 8), 16) % shards];
    if (shard === undefined) throw new Error('there is no such shard');
    return shard;
  }

  #failed(thrown: unknown): void {
    if (!this.#isFailing)
      this.#o.log.error({ err: thrown }, 'accounts of sessions cannot be shared now; each gateway has its own');
    this.#isFailing = true;
  }
}

/** A digest, because identifiers of sessions may be as good as passwords. */
function keyOf(tenant: string, sessionId: string): string {
  return createHash('sha256').update(`${tenant.length}:${tenant}${sessionId}`).digest('hex').slice(0, 32);
}
