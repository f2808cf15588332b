import { StatorError } from '#lib/errors/errors.ts';
import type { Caller } from './caller.ts';

/** What is left of a limit, for the answer's headers. */
export interface LimitState {
  readonly limit: number;
  readonly remaining: number;
  /** Milliseconds until all of it is there again. */
  readonly resetMs: number;
}

export interface RateState {
  readonly requests: LimitState | null;
  readonly tokens: LimitState | null;
}

/** Tokens that a caller used in the running day and month, UTC. */
interface Spent {
  day: string;
  dayTokens: number;
  month: string;
  monthTokens: number;
}

interface Account {
  /** What the buckets hold; tokens may be owed. */
  requests: number;
  tokens: number;
  filledMs: number;
  running: number;
  readonly spent: Spent;
}

/** Callers whose accounts are full again are forgotten above so many, looked for no more often than so. */
const sweepAbove = 10_000;
const sweepEveryMs = 1000;

/**
 * Limits of callers: token buckets that fill evenly over a minute, requests at once, and budgets by day and month. The
 * length of an answer is unknown before it ends, so a request is let in while tokens are left and what it used is
 * charged afterwards; who went into debt waits until it is paid.
 */
export class RateLimits {
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

  /** Lets a request in, to be ended by `leave`, or throws `rate_limited` with the time after which it will be. */
  enter(caller: Caller): RateState {
    const account = this.#account(caller);
    const { concurrentRequests, requestsPerMinute, tokensPerMinute } = caller;
    if (concurrentRequests !== null && account.running >= concurrentRequests)
      throw limited(`${concurrentRequests} requests of this key are being answered already.`, 1000, concurrentRequests);
    if (requestsPerMinute !== null && account.requests < 1) {
      const waitMs = ((1 - account.requests) * 60_000) / requestsPerMinute;
      throw limited(`The limit of ${requestsPerMinute} requests a minute is reached.`, waitMs, requestsPerMinute);
    }
    if (tokensPerMinute !== null && account.tokens <= 0) {
      const waitMs = ((1 - account.tokens) * 60_000) / tokensPerMinute;
      throw limited(`The limit of ${tokensPerMinute} tokens a minute is reached.`, waitMs, tokensPerMinute);
    }
    this.#checkBudgets(caller, account.spent);
    account.requests -= 1;
    account.running += 1;
    return this.#state(caller, account);
  }

  /** The request ended, having used so many tokens. */
  leave(caller: Caller, tokens: number): void {
    const account = this.#account(caller);
    account.running = Math.max(0, account.running - 1);
    // What no limit asks for is not remembered, so that the account can be forgotten.
    if (caller.tokensPerMinute !== null) account.tokens -= tokens;
    if (caller.tokensPerDay === null && caller.tokensPerMonth === null) return;
    account.spent.dayTokens += tokens;
    account.spent.monthTokens += tokens;
  }

  #checkBudgets(caller: Caller, spent: Spent): void {
    const { tokensPerDay, tokensPerMonth } = caller;
    const now = new Date(this.#nowUnixMs());
    if (tokensPerDay !== null && spent.dayTokens >= tokensPerDay) {
      const next = Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate() + 1);
      throw limited(`The budget of ${tokensPerDay} tokens a day is used up.`, next - now.getTime(), tokensPerDay);
    }
    if (tokensPerMonth !== null && spent.monthTokens >= tokensPerMonth) {
      const next = Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1, 1);
      throw limited(`The budget of ${tokensPerMonth} tokens a month is used up.`, next - now.getTime(), tokensPerMonth);
    }
  }

  #account(caller: Caller): Account {
    const nowMs = this.#clock();
    const day = new Date(this.#nowUnixMs()).toISOString().slice(0, 10);
    let account = this.#accounts.get(caller.id);
    if (account === undefined) {
      if (this.#accounts.size >= sweepAbove) this.#sweep(nowMs, day.slice(0, 7));
      const spent = { day, dayTokens: 0, month: day.slice(0, 7), monthTokens: 0 };
      const full = { requests: caller.requestsPerMinute ?? 0, tokens: caller.tokensPerMinute ?? 0 };
      account = { ...full, filledMs: nowMs, running: 0, spent };
      this.#accounts.set(caller.id, account);
    }
    fill(account, caller, nowMs);
    renew(account.spent, day);
    return account;
  }

  #state(caller: Caller, account: Account): RateState {
    const of = (perMinute: number | null, left: number): LimitState | null => {
      if (perMinute === null) return null;
      const resetMs = Math.ceil(((perMinute - left) * 60_000) / perMinute);
      return { limit: perMinute, remaining: Math.max(0, Math.floor(left)), resetMs };
    };
    return {
      requests: of(caller.requestsPerMinute, account.requests),
      tokens: of(caller.tokensPerMinute, account.tokens),
    };
  }

  /** Forgets accounts that nothing is known of: idle for as long as a bucket takes to fill, and no budget used this month. */
  #sweep(nowMs: number, month: string): void {
    if (nowMs - this.#sweptMs < sweepEveryMs) return;
    this.#sweptMs = nowMs;
    for (const [id, account] of this.#accounts) {
      const isIdle = account.running === 0 && nowMs - account.filledMs > 60_000 && account.tokens >= 0;
      if (isIdle && (account.spent.monthTokens === 0 || account.spent.month !== month)) this.#accounts.delete(id);
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

function renew(spent: Spent, day: string): void {
  const month = day.slice(0, 7);
  if (spent.day !== day) Object.assign(spent, { day, dayTokens: 0 });
  if (spent.month !== month) Object.assign(spent, { month, monthTokens: 0 });
}

function limited(message: string, waitMs: number, limit: number): StatorError {
  return new StatorError('rate_limited', message, { retryAfterMs: Math.ceil(waitMs), facts: { limit } });
}
