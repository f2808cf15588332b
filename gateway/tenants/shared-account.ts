import type { Caller } from './caller.ts';
import { nextMonthUnixMs, renewed, type Spent } from './limits.ts';

/** What one gateway has taken for requests to come. */
export interface Holding {
  /** Number of its last exchange, by which it knows after a broken connection whether that happened. */
  readonly exchange: number;
  /** Requests of the minute's worth that it may let in without asking. */
  readonly slice: number;
  /** Requests that it may answer at once. */
  readonly slots: number;
  /** Unix time from which on it is taken for dead. */
  readonly untilMs: number;
}

/** What gateways know together of one caller: a document of the store. */
export interface SharedAccount {
  /** Taken of a minute's worth; flows off evenly over a minute. Tokens may be more than the limit: a debt. */
  readonly requests: number;
  readonly tokens: number;
  /** Unix time until which it has flowed off. */
  readonly atMs: number;
  readonly spent: Spent;
  /** By gateway. */
  readonly holdings: Readonly<Record<string, Holding>>;
}

/** What a gateway tells of a caller and asks for, once. */
export interface Ask {
  readonly gateway: string;
  readonly exchange: number;
  readonly nowUnixMs: number;
  /** Milliseconds after which its holding is free unless it asks again. */
  readonly leaseMs: number;
  /** What was left of its slice: it is given back, and a new one taken. */
  readonly givenBack: number;
  /** Requests that it let in without the store, and tokens used since it last told. */
  readonly owedRequests: number;
  readonly owedTokens: number;
  readonly running: number;
  /** Requests that wait to be let in. */
  readonly waiting: number;
  /** Requests beyond those that it would like to let in without asking. */
  readonly ahead: number;
}

/** Of what is left, a gateway gets at most this part ahead, so that slices shrink as the limit comes near. */
const shareAhead = 1 / 8;
/** Beyond the time that an account matters, because clocks differ. */
const marginMs = 60_000;

const empty: SharedAccount = {
  requests: 0,
  tokens: 0,
  atMs: 0,
  spent: { day: '', dayTokens: 0, month: '', monthTokens: 0 },
  holdings: {},
};

/** The account as it stands at a time: taken requests and tokens flow off, days and months begin. */
export function drained(account: SharedAccount | null, caller: Caller, nowUnixMs: number): SharedAccount {
  const { requests, tokens, atMs, spent, holdings } = account ?? empty;
  const minutes = Math.max(0, nowUnixMs - atMs) / 60_000;
  const { requestsPerMinute, tokensPerMinute } = caller;
  return {
    requests: requestsPerMinute === null ? 0 : Math.max(0, requests - minutes * requestsPerMinute),
    tokens: tokensPerMinute === null ? 0 : Math.max(0, tokens - minutes * tokensPerMinute),
    atMs: Math.max(atMs, nowUnixMs),
    spent: renewed(spent, nowUnixMs),
    holdings,
  };
}

/** The account after an exchange; what the gateway holds then stands in it. */
export function exchange(before: SharedAccount | null, caller: Caller, ask: Ask): SharedAccount {
  const now = drained(before, caller, ask.nowUnixMs);
  const others = Object.entries(now.holdings).filter(
    ([gateway, { untilMs }]) => gateway !== ask.gateway && untilMs > ask.nowUnixMs,
  );
  const taken = Math.max(0, now.requests - ask.givenBack) + ask.owedRequests;
  const wanted = ask.waiting + ask.ahead;
  const granted = grant(caller.requestsPerMinute, taken, ask.waiting, wanted);
  const occupied = others.reduce((sum, [, { slots }]) => sum + slots, 0) + ask.running;
  const slots = ask.running + grant(caller.concurrentRequests, occupied, ask.waiting, wanted);
  const holding: Holding = {
    exchange: ask.exchange,
    slice: granted,
    slots: caller.concurrentRequests === null ? 0 : slots,
    untilMs: ask.nowUnixMs + ask.leaseMs,
  };
  const counts = caller.tokensPerDay !== null || caller.tokensPerMonth !== null;
  const spentTokens = counts ? ask.owedTokens : 0;
  return {
    requests: caller.requestsPerMinute === null ? 0 : taken + granted,
    tokens: caller.tokensPerMinute === null ? 0 : now.tokens + ask.owedTokens,
    atMs: now.atMs,
    spent: {
      ...now.spent,
      dayTokens: now.spent.dayTokens + spentTokens,
      monthTokens: now.spent.monthTokens + spentTokens,
    },
    holdings: Object.fromEntries([...others, [ask.gateway, holding]]),
  };
}

/** Of a limit of which so much is taken: what is needed as far as it goes, and of what is wanted beyond a part of the rest. */
function grant(limit: number | null, taken: number, needed: number, wanted: number): number {
  if (limit === null) return 0;
  const left = Math.max(0, Math.floor(limit - taken));
  const now = Math.min(left, needed);
  return now + Math.min(Math.floor((left - now) * shareAhead), wanted - needed);
}

/** What other gateways hold of requests and slots: some of it they may soon give back. */
export function heldByOthers(
  account: SharedAccount,
  gateway: string,
  nowUnixMs: number,
): { readonly slices: number; readonly slots: number } {
  let [slices, slots] = [0, 0];
  for (const [name, holding] of Object.entries(account.holdings)) {
    if (name === gateway || holding.untilMs <= nowUnixMs) continue;
    slices += holding.slice;
    slots += holding.slots;
  }
  return { slices, slots };
}

/** Unix time from which on the account says nothing that matters. */
export function expiryOf(account: SharedAccount, caller: Caller, leaseMs: number): number {
  const { tokensPerMinute, tokensPerDay, tokensPerMonth } = caller;
  const debtMs = tokensPerMinute === null ? 0 : (account.tokens / tokensPerMinute) * 60_000;
  const budgetMs = tokensPerDay === null && tokensPerMonth === null ? 0 : nextMonthUnixMs(account.atMs) - account.atMs;
  return Math.ceil(account.atMs + Math.max(60_000, debtMs, budgetMs, leaseMs) + marginMs);
}
