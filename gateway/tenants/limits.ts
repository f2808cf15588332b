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

/** A request that its caller's limits let in; `leave` is called once, with the tokens that it used. */
export interface Entry {
  readonly rates: RateState;
  leave(tokens: number): void;
}

/** Charges tokens that were used. */
export type Charge = (tokens: number) => void;

/** Limits of callers. */
export interface Limits {
  /** Lets a request in or throws `rate_limited` with the time after which it will be. */
  enter(caller: Caller): Entry | Promise<Entry>;
  /**
   * For work that no request of the caller waits for: throws `rate_limited` unless all of its tokens fit into what is left
   * now. The answer charges what it took, once.
   */
  spend(caller: Caller, tokens: number): Charge | Promise<Charge>;
  /** Whether they hold although what gateways share cannot be reached. */
  readonly isAlone: boolean;
  /** Gives back what is held for requests to come. */
  close(): Promise<void>;
}

/** Tokens that a caller used in the running day and month, UTC. */
export interface Spent {
  day: string;
  dayTokens: number;
  month: string;
  monthTokens: number;
}

/** Nothing is counted for a caller without any limit. */
export function isUnlimited(caller: Caller): boolean {
  const { requestsPerMinute, tokensPerMinute, concurrentRequests, tokensPerDay, tokensPerMonth } = caller;
  return [requestsPerMinute, tokensPerMinute, concurrentRequests, tokensPerDay, tokensPerMonth].every(
    (limit) => limit === null,
  );
}

/** Throws where as many of a caller's requests run as may. */
export function checkConcurrent({ concurrentRequests }: Caller, hasRoom: boolean): void {
  if (concurrentRequests === null || hasRoom) return;
  throw limited(`${concurrentRequests} requests of this key are being answered already.`, 1000, concurrentRequests);
}

/** Throws unless `left` requests and tokens of the minute's worth let one more in. */
export function checkRates(caller: Caller, left: { readonly requests: number; readonly tokens: number }): void {
  const { requestsPerMinute, tokensPerMinute } = caller;
  if (requestsPerMinute !== null && left.requests < 1) {
    const waitMs = ((1 - left.requests) * 60_000) / requestsPerMinute;
    throw limited(`The limit of ${requestsPerMinute} requests a minute is reached.`, waitMs, requestsPerMinute);
  }
  if (tokensPerMinute !== null && left.tokens <= 0) {
    const waitMs = ((1 - left.tokens) * 60_000) / tokensPerMinute;
    throw limited(`The limit of ${tokensPerMinute} tokens a minute is reached.`, waitMs, tokensPerMinute);
  }
}

/** Throws where a budget of the running day or month is used up. */
export function checkBudgets({ tokensPerDay, tokensPerMonth }: Caller, spent: Spent, nowUnixMs: number): void {
  const now = new Date(nowUnixMs);
  if (tokensPerDay !== null && spent.dayTokens >= tokensPerDay) {
    const next = Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate() + 1);
    throw limited(`The budget of ${tokensPerDay} tokens a day is used up.`, next - nowUnixMs, tokensPerDay);
  }
  if (tokensPerMonth !== null && spent.monthTokens >= tokensPerMonth) {
    const waitMs = nextMonthUnixMs(nowUnixMs) - nowUnixMs;
    throw limited(`The budget of ${tokensPerMonth} tokens a month is used up.`, waitMs, tokensPerMonth);
  }
}

/** Throws unless so many tokens fit into the minute's worth and the budgets. */
export function checkRoom(
  { tokensPerMinute, tokensPerDay, tokensPerMonth }: Caller,
  tokens: number,
  left: { readonly tokens: number; readonly spent: Spent },
): void {
  const { dayTokens, monthTokens } = left.spent;
  for (const [limit, room] of [
    [tokensPerMinute, left.tokens],
    [tokensPerDay, (tokensPerDay ?? 0) - dayTokens],
    [tokensPerMonth, (tokensPerMonth ?? 0) - monthTokens],
  ] as const)
    if (limit !== null && tokens > room)
      throw limited(`${tokens} tokens are more than this key has left.`, 1000, limit);
}

export function nextMonthUnixMs(nowUnixMs: number): number {
  const now = new Date(nowUnixMs);
  return Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1, 1);
}

/** A budget that begins anew with the day and the month. */
export function renewed(spent: Spent, nowUnixMs: number): Spent {
  const day = new Date(nowUnixMs).toISOString().slice(0, 10);
  const month = day.slice(0, 7);
  return {
    day,
    dayTokens: spent.day === day ? spent.dayTokens : 0,
    month,
    monthTokens: spent.month === month ? spent.monthTokens : 0,
  };
}

export function rateState(caller: Caller, left: { readonly requests: number; readonly tokens: number }): RateState {
  const of = (perMinute: number | null, remaining: number): LimitState | null => {
    if (perMinute === null) return null;
    const resetMs = Math.max(0, Math.ceil(((perMinute - remaining) * 60_000) / perMinute));
    return { limit: perMinute, remaining: Math.max(0, Math.floor(remaining)), resetMs };
  };
  return {
    requests: of(caller.requestsPerMinute, left.requests),
    tokens: of(caller.tokensPerMinute, left.tokens),
  };
}

function limited(message: string, waitMs: number, limit: number): StatorError {
  return new StatorError('rate_limited', message, { retryAfterMs: Math.ceil(waitMs), facts: { limit } });
}
