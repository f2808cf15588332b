import { randomUUID } from 'node:crypto';
import type { Counter, Registry } from 'prom-client';
import { StatorError } from '#lib/errors/errors.ts';
import type { Store } from '#lib/store/store.ts';
import { counterOf } from '#lib/telemetry/metrics.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import type { Caller } from './caller.ts';
import { type KnownAccount, LimitAccounts } from './limit-accounts.ts';
import {
  type Charge,
  checkBudgets,
  checkConcurrent,
  checkRoom,
  type Entry,
  isUnlimited,
  type Limits,
  rateState,
} from './limits.ts';
import { LocalAccount } from './local-account.ts';
import { RateLimits } from './rate-limits.ts';
import { type Ask, exchange, heldByOthers } from './shared-account.ts';

export interface SharedLimitsOptions {
  readonly store: Store;
  readonly telemetry: Telemetry;
  /** Milliseconds between exchanges of what is used; decisions rest on nothing older. */
  readonly syncMs: number;
  /** Milliseconds after which what a dead gateway held is free. */
  readonly leaseMs: number;
  /** Without the store: gateways count for themselves, or refuse callers that have limits. */
  readonly withoutStore: 'local' | 'refuse';
  /** Milliseconds that an exchange may take. Default: 1000. */
  readonly timeoutMs?: number;
  /** Milliseconds between tries while the store fails. Default: 1000. */
  readonly retryMs?: number;
  /** Unix time in milliseconds. Default: the system's clock. */
  readonly nowUnixMs?: () => number;
}

interface LimitMetrics {
  readonly exchanges: Counter<'outcome'>;
  readonly unshared: Counter<'outcome'>;
}

interface Waiter {
  resolve(entry: Entry): void;
  reject(error: unknown): void;
}

const defaultTimeoutMs = 1000;
const defaultRetryMs = 1000;
/** Tries to tell what is untold when the gateway ends: nobody tells it afterwards. */
const lastTries = 3;
/** Exchanges of different callers at once. */
const mostAtOnce = 16;

/**
 * Limits that several gateways hold together: each caller's account lies in the store, and every gateway takes slices of
 * what is left of it. A request that a slice covers asks nobody; others wait for one exchange, which all requests of the
 * caller that wait share. docs/tenants.md says what that can let through.
 */
export class SharedLimits implements Limits {
  readonly #o: SharedLimitsOptions;
  readonly #gateway = randomUUID();
  readonly #accounts = new Map<string, LocalAccount<Waiter>>();
  readonly #stored: LimitAccounts;
  readonly #local: RateLimits;
  readonly #now: () => number;
  readonly #retryMs: number;
  readonly #timer: NodeJS.Timeout;
  readonly #metrics: LimitMetrics;
  #exchange = 0;
  #ticking: Promise<void> | null = null;
  #closed = false;
  /** When the store was last tried in vain; null: it works. */
  #failedMs: number | null = null;

  constructor(o: SharedLimitsOptions) {
    this.#o = o;
    this.#now = o.nowUnixMs ?? Date.now;
    this.#retryMs = o.retryMs ?? defaultRetryMs;
    this.#local = new RateLimits(() => performance.now(), this.#now);
    this.#metrics = limitMetrics(o.telemetry.metrics);
    this.#stored = new LimitAccounts(o.store, o.leaseMs, () => this.#metrics.exchanges.inc({ outcome: 'conflict' }));
    this.#timer = setInterval(() => this.#tick(), o.syncMs).unref();
  }

  get isAlone(): boolean {
    return this.#failedMs !== null;
  }

  /** Callers of whom something is known here. */
  get size(): number {
    return this.#accounts.size;
  }

  enter(caller: Caller): Entry | Promise<Entry> {
    if (isUnlimited(caller)) return { rates: { requests: null, tokens: null }, leave: () => {} };
    const account = this.#account(caller);
    if (this.isAlone) return this.#enterAlone(account);
    if (account.waiting.length === 0 && account.isFresh(this.#o.syncMs)) {
      const refusal = account.refusal(this.#now());
      if (refusal === null) return this.#letIn(account);
      if (account.wasRefused(this.#o.syncMs)) throw refusal.error;
    }
    return new Promise((resolve, reject) => {
      account.waiting.push({ resolve, reject });
      if (account.recheck === null) this.#decide(account, false);
    });
  }

  /** No request waits for it: what is not known well enough is asked. While the store fails nothing fits. */
  async spend(caller: Caller, tokens: number): Promise<Charge> {
    if (isUnlimited(caller)) return () => {};
    const account = this.#account(caller);
    if (!this.isAlone && !account.isFresh(this.#o.syncMs)) {
      if (!account.isBusy) this.#decide(account, false);
      await account.exchanging;
    }
    // So that the store is tried again although no request comes.
    if (this.isAlone) account.isDirty = true;
    if (this.isAlone || account.known === null)
      throw new StatorError('rate_limited', 'What this key has left is not known now.', { retryAfterMs: 1000 });
    const nowUnixMs = this.#now();
    checkRoom(caller, tokens, { tokens: account.left(nowUnixMs).tokens, spent: account.spent(nowUnixMs) });
    return (used) => this.#account(caller).charge(used);
  }

  /** Tells what is still untold and gives everything back. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#ticking;
    this.#closed = true;
    for (const account of this.#accounts.values()) {
      this.#dismiss(account);
      while (account.exchanging !== null) await account.exchanging;
      // An exchange puts back those whom it could not let in.
      this.#dismiss(account);
      account.rest();
    }
    await this.#tellAll();
  }

  #dismiss(account: LocalAccount<Waiter>): void {
    if (account.recheck !== null) clearTimeout(account.recheck);
    account.recheck = null;
    const over = new StatorError('draining', 'The gateway is shutting down. Retry elsewhere.', { retryAfterMs: 1000 });
    for (const { reject } of account.waiting.splice(0)) reject(over);
  }

  #account(caller: Caller): LocalAccount<Waiter> {
    let account = this.#accounts.get(caller.id);
    if (account === undefined) {
      account = new LocalAccount(caller);
      this.#accounts.set(caller.id, account);
    }
    account.caller = caller;
    return account;
  }

  #letIn(account: LocalAccount<Waiter>): Entry {
    account.begin();
    const rates = rateState(account.caller, account.left(this.#now()));
    let isIn = true;
    const leave = (tokens: number): void => {
      if (isIn) account.end(tokens);
      isIn = false;
    };
    return { rates, leave };
  }

  /** The store cannot be asked: within what was known of budgets and limits of this gateway alone, or not at all. */
  #enterAlone(account: LocalAccount<Waiter>): Entry {
    account.isDirty = true;
    if (this.#o.withoutStore === 'refuse') {
      this.#metrics.unshared.inc({ outcome: 'refused' });
      throw new StatorError('storage_unavailable', 'Limits cannot be checked now.', { retryAfterMs: 1000 });
    }
    const { caller } = account;
    // What runs was let in by the store, or by this gateway alone: together they stay within the limit of one.
    checkConcurrent(caller, caller.concurrentRequests === null || account.running < caller.concurrentRequests);
    checkBudgets(caller, account.spent(this.#now()), this.#now());
    const entry = this.#local.enter(account.caller);
    this.#metrics.unshared.inc({ outcome: 'local' });
    account.beginUntold();
    const leave = (tokens: number): void => {
      entry.leave(tokens);
      account.end(tokens);
    };
    return { rates: entry.rates, leave };
  }

  /** Asks the store for those who wait, and lets them in or refuses them. `final`: others have had time to give back. */
  #decide(account: LocalAccount<Waiter>, final: boolean): void {
    if (account.exchanging !== null) return;
    const waiters = account.waiting.splice(0);
    account.exchanging = this.#tell(account, waiters.length)
      .then(
        () => this.#answer(account, waiters, final),
        () => this.#answerAlone(account, waiters),
      )
      .finally(() => {
        account.exchanging = null;
        if (account.recheck === null) this.#serve(account);
        if (account.waiting.length > 0 && account.recheck === null) this.#decide(account, false);
      });
  }

  #answer(account: LocalAccount<Waiter>, waiters: readonly Waiter[], final: boolean): void {
    const nowUnixMs = this.#now();
    const refused: Waiter[] = [];
    for (const waiter of waiters) {
      if (account.refusal(nowUnixMs) === null) waiter.resolve(this.#letIn(account));
      else refused.push(waiter);
    }
    const refusal = account.refusal(nowUnixMs);
    if (refused.length === 0 || refusal === null) return;
    if (!final && refusal.isOfHoldings && this.#othersHold(account, nowUnixMs)) {
      account.waiting.unshift(...refused);
      // Long enough for what has ended elsewhere to have been told.
      account.recheck = setTimeout(() => {
        account.recheck = null;
        this.#decide(account, true);
      }, this.#o.syncMs * 1.5);
      return;
    }
    account.refuse();
    for (const waiter of refused) waiter.reject(refusal.error);
  }

  /** Lets in those who came during an exchange, as far as what it brought reaches. */
  #serve(account: LocalAccount<Waiter>): void {
    const nowUnixMs = this.#now();
    while (account.waiting.length > 0 && account.isFresh(this.#o.syncMs) && account.refusal(nowUnixMs) === null)
      account.waiting.shift()?.resolve(this.#letIn(account));
  }

  #answerAlone(account: LocalAccount<Waiter>, waiters: readonly Waiter[]): void {
    for (const waiter of [...waiters, ...account.waiting.splice(0)]) {
      try {
        waiter.resolve(this.#enterAlone(account));
      } catch (thrown) {
        waiter.reject(thrown);
      }
    }
  }

  #othersHold({ known, caller }: LocalAccount<Waiter>, nowUnixMs: number): boolean {
    if (known?.account == null) return false;
    const { slices, slots } = heldByOthers(known.account, this.#gateway, nowUnixMs);
    return (caller.requestsPerMinute !== null && slices > 0) || (caller.concurrentRequests !== null && slots > 0);
  }

  #tick(): void {
    if (this.#ticking !== null) return;
    if (this.#failedMs !== null && performance.now() - this.#failedMs < this.#retryMs) return;
    for (const account of this.#accounts.values()) account.tick();
    this.#ticking = this.#tellAll().finally(() => {
      this.#ticking = null;
    });
  }

  /** Tells the store what is untold, of all callers; forgets those of whom nothing is left to know. */
  async #tellAll(): Promise<void> {
    const untold: LocalAccount<Waiter>[] = [];
    for (const [id, account] of this.#accounts) {
      if (account.isBusy) continue;
      if (account.needsExchange(this.#now(), this.#o.leaseMs, this.#gateway)) untold.push(account);
      else if (account.isIdle && !account.isFresh(this.#o.syncMs)) this.#accounts.delete(id);
    }
    for (let at = 0; at < untold.length; at += mostAtOnce) {
      const some = untold.slice(at, at + mostAtOnce);
      await Promise.all(some.map((account) => this.#tellOne(account)));
      if (this.isAlone) return;
    }
  }

  async #tellOne(account: LocalAccount<Waiter>): Promise<void> {
    if (account.isBusy) return;
    if (this.#closed) return this.#tellLast(account);
    this.#decide(account, false);
    await account.exchanging;
  }

  async #tellLast(account: LocalAccount<Waiter>): Promise<void> {
    for (let tries = 1; tries <= lastTries; tries++) {
      try {
        return await this.#tell(account, 0);
      } catch {
        // It is in the log.
      }
    }
  }

  /** One exchange; throws where it failed or took too long, with nothing lost of what there was to tell. */
  async #tell(account: LocalAccount<Waiter>, waiting: number): Promise<void> {
    const timeout = AbortSignal.timeout(this.#o.timeoutMs ?? defaultTimeoutMs);
    const late = new Promise<never>((_, reject) => {
      timeout.addEventListener('abort', () => reject(timeout.reason), { once: true });
    });
    try {
      const known = await Promise.race([this.#exchangeOf(account, waiting, timeout), late]);
      account.settle(known, this.#gateway);
      this.#metrics.exchanges.inc({ outcome: 'ok' });
      if (this.isAlone) this.#o.telemetry.log.info('limits are shared again');
      this.#failedMs = null;
    } catch (thrown) {
      this.#metrics.exchanges.inc({ outcome: 'failed' });
      if (!this.isAlone) this.#o.telemetry.log.error({ err: thrown }, 'limits cannot be shared: the store fails');
      this.#failedMs = performance.now();
      throw thrown;
    }
  }

  async #exchangeOf(account: LocalAccount<Waiter>, waiting: number, signal: AbortSignal): Promise<KnownAccount> {
    const { caller } = account;
    if (account.known === null || account.isUnsure) {
      const found = await this.#stored.read(caller);
      // What is read too late says nothing of the exchange that may be under way by then.
      signal.throwIfAborted();
      account.resolve(found, this.#gateway);
    }
    this.#exchange += 1;
    const same = { gateway: this.#gateway, leaseMs: this.#o.leaseMs, waiting };
    const ask: Ask = { ...same, ...account.ask(this.#exchange), nowUnixMs: this.#now() };
    const known = account.known ?? { account: null, version: 0 };
    return this.#stored.change(
      caller,
      known,
      (before) => exchange(before, caller, account.without(ask, before, this.#gateway)),
      signal,
    );
  }
}

/** The metrics of shared limits, which are there where limits are not shared too. */
export function limitMetrics(registry: Registry): LimitMetrics {
  const exchanges = 'Exchanges of limits with the store, by outcome: ok, conflict (tried again) or failed.';
  const unshared = 'Requests of callers with limits while the store of limits failed, by outcome: local or refused.';
  return {
    exchanges: counterOf(registry, 'stator_gateway_limit_exchanges_total', exchanges, ['outcome']),
    unshared: counterOf(registry, 'stator_gateway_unshared_limits_total', unshared, ['outcome']),
  };
}
