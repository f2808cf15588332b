import type { Caller } from './caller.ts';
import {
  type Charge,
  checkBudgets,
  checkConcurrent,
  checkRates,
  checkRoom,
  type Entry,
  type Limits,
  type RateState,
  rateState,
  renewed,
  type Spent,
} from './limits.ts';

interface Account {
  /** What the buckets hold; tokens may be owed. */
  requests: number;
  tokens: number;
  filledMs: number;
  running: number;
  spent: Spent;
}

/** Callers whose accounts are full again are forgotten above so many, looked for no more often than so. */
const sweepAbove = 10_000;
const sweepEveryMs = 1000;

/**
 * Limits of callers as one gateway counts them for itself: token buckets that fill evenly over a minute, requests at once,
 * and budgets by day and month. The length of an answer is unknown before it ends, so a request is let in while tokens are
 * left and what it used is charged afterwards; who went into debt waits until it is paid.
 */
export class RateLimits implements Limits {
  readonly isAlone = false;
  readonly #accounts = new Map<string, Account>();
  readonly #clock: () => number;
  readonly #nowUnixMs: () => number;
  #sweptMs = Number.NEGATIVE_INFINITY;

  /** `clock`: monotonic milliseconds. */
  constructor(clock: () => number = () => performance.now(), nowUnixMs: () => number = () => Date.now()) {
    this.#clock = clock;
    this.#nowUnixMs = nowUnixMs;
  }

  /** Accounts that are kept. */
  get size(): number {
    return this.#accounts.size;
  }

  enter(caller: Caller): Entry {
    const account = this.#account(caller);
    const { concurrentRequests } = caller;
    checkConcurrent(caller, concurrentRequests === null || account.running < concurrentRequests);
    checkRates(caller, account);
    checkBudgets(caller, account.spent, this.#nowUnixMs());
    account.requests -= 1;
    account.running += 1;
    const rates: RateState = rateState(caller, account);
    return { rates, leave: (tokens) => this.#leave(caller, tokens) };
  }

  spend(caller: Caller, tokens: number): Charge {
    checkRoom(caller, tokens, this.#account(caller));
    return (used) => this.#charge(caller, this.#account(caller), used);
  }

  async close(): Promise<void> {}

  #leave(caller: Caller, tokens: number): void {
    const account = this.#account(caller);
    account.running = Math.max(0, account.running - 1);
    this.#charge(caller, account, tokens);
  }

  #charge(caller: Caller, account: Account, tokens: number): void {
    // What no limit asks for is not remembered, so that the account can be forgotten.
    if (caller.tokensPerMinute !== null) account.tokens -= tokens;
    if (caller.tokensPerDay === null && caller.tokensPerMonth === null) return;
    account.spent.dayTokens += tokens;
    account.spent.monthTokens += tokens;
  }

  #account(caller: Caller): Account {
    const nowMs = this.#clock();
    const nowUnixMs = this.#nowUnixMs();
    let account = this.#accounts.get(caller.id);
    if (account === undefined) {
      if (this.#accounts.size >= sweepAbove) this.#sweep(nowMs, nowUnixMs);
      const spent = renewed({ day: '', dayTokens: 0, month: '', monthTokens: 0 }, nowUnixMs);
      const full = { requests: caller.requestsPerMinute ?? 0, tokens: caller.tokensPerMinute ?? 0 };
      account = { ...full, filledMs: nowMs, running: 0, spent };
      this.#accounts.set(caller.id, account);
    }
    fill(account, caller, nowMs);
    account.spent = renewed(account.spent, nowUnixMs);
    return account;
  }

  /** Forgets accounts that nothing is known of: idle for as long as a bucket takes to fill, and no budget used this month. */
  #sweep(nowMs: number, nowUnixMs: number): void {
    if (nowMs - this.#sweptMs < sweepEveryMs) return;
    this.#sweptMs = nowMs;
    for (const [id, account] of this.#accounts) {
      const isIdle = account.running === 0 && nowMs - account.filledMs > 60_000 && account.tokens >= 0;
      if (isIdle && renewed(account.spent, nowUnixMs).monthTokens === 0) this.#accounts.delete(id);
    }
  }
}

function fill(account: Account, { requestsPerMinute, tokensPerMinute }: Caller, nowMs: number): void {
  const minutes = Math.max(0, nowMs - account.filledMs) / 60_000;
  account.filledMs = nowMs;
  if (requestsPerMinute !== null)
    account.requests = Math.min(requestsPerMinute, account.requests + minutes * requestsPerMinute);
  if (tokensPerMinute !== null) account.tokens = Math.min(tokensPerMinute, account.tokens + minutes * tokensPerMinute);
}
