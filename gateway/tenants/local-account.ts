import { StatorError } from '#lib/errors/errors.ts';
import type { Caller } from './caller.ts';
import type { KnownAccount } from './limit-accounts.ts';
import { checkBudgets, checkConcurrent, checkRates, type Spent } from './limits.ts';
import { type Ask, drained, type Holding, type SharedAccount } from './shared-account.ts';

/** What one gateway's account contributes to an exchange. */
type OwnAsk = Pick<Ask, 'exchange' | 'givenBack' | 'owedRequests' | 'owedTokens' | 'running' | 'ahead'>;

/** Older ones have long been written over. */
const mostAbandoned = 16;

interface Refusal {
  readonly error: StatorError;
  /** Whether it is for want of requests or slots, which others may hold. */
  readonly isOfHoldings: boolean;
}

/** A caller's account as one gateway sees it: what it holds of the shared one, and what it has not told yet. */
export class LocalAccount<Waiter> {
  caller: Caller;
  /** As it was read or written last; null: not read yet. */
  known: KnownAccount | null = null;
  /** Requests that wait for an exchange. */
  readonly waiting: Waiter[] = [];
  exchanging: Promise<void> | null = null;
  recheck: NodeJS.Timeout | null = null;
  /** Whether an exchange is wanted even where there is nothing to tell. */
  isDirty = false;
  #slice = 0;
  #slots = 0;
  #running = 0;
  #owedRequests = 0;
  #owedTokens = 0;
  /** What was told last, until it is known to have arrived. */
  #unsure: OwnAsk | null = null;
  /** What was told and then taken for lost; the store may still hear of it, as long as it has not heard of anything later. */
  #abandoned: OwnAsk[] = [];
  /** Requests let in since the last tick, and about as many as there lately were in one. */
  #entered = 0;
  #recent = 0;
  #seenMs = Number.NEGATIVE_INFINITY;
  #refusedMs = Number.NEGATIVE_INFINITY;

  constructor(caller: Caller) {
    this.caller = caller;
  }

  get isBusy(): boolean {
    return this.exchanging !== null || this.recheck !== null || this.waiting.length > 0;
  }

  /** Whether nothing would be lost with it. */
  get isIdle(): boolean {
    return this.#running === 0 && this.#slice === 0 && this.#slots === 0 && !this.#hasUntold;
  }

  /** Requests that are being answered here. */
  get running(): number {
    return this.#running;
  }

  get isUnsure(): boolean {
    return this.#unsure !== null;
  }

  get #untoldTokens(): number {
    return this.#owedTokens + (this.#unsure?.owedTokens ?? 0);
  }

  get #hasUntold(): boolean {
    return this.isDirty || this.isUnsure || this.#owedRequests > 0 || this.#owedTokens > 0;
  }

  /** Whether what is known of the shared account is no older than so. */
  isFresh(ageMs: number): boolean {
    return performance.now() - this.#seenMs <= ageMs;
  }

  wasRefused(withinMs: number): boolean {
    return performance.now() - this.#refusedMs <= withinMs;
  }

  refuse(): void {
    this.#refusedMs = performance.now();
  }

  /** Why no request can be let in with what is held and known; null: one can. */
  refusal(nowUnixMs: number): Refusal | null {
    const { caller } = this;
    const left = this.left(nowUnixMs);
    const short = refusalOf(() => {
      checkRates(caller, { requests: 1, tokens: left.tokens });
      checkBudgets(caller, this.spent(nowUnixMs), nowUnixMs);
    });
    if (short !== null) return { error: short, isOfHoldings: false };
    const requests = this.#slice >= 1 ? 1 : Math.min(left.requests, 1 - Number.EPSILON);
    const held = refusalOf(() => {
      checkConcurrent(caller, this.#running < this.#slots);
      checkRates(caller, { requests, tokens: 1 });
    });
    return held === null ? null : { error: held, isOfHoldings: true };
  }

  /** What is left of the minute's worth, as far as is known. */
  left(nowUnixMs: number): { readonly requests: number; readonly tokens: number } {
    const { requestsPerMinute, tokensPerMinute } = this.caller;
    const { requests, tokens } = this.#shared(nowUnixMs);
    return {
      requests: (requestsPerMinute ?? 0) - requests + this.#slice,
      tokens: (tokensPerMinute ?? 0) - tokens - this.#untoldTokens,
    };
  }

  spent(nowUnixMs: number): Spent {
    const { spent } = this.#shared(nowUnixMs);
    const owed = this.#untoldTokens;
    return { ...spent, dayTokens: spent.dayTokens + owed, monthTokens: spent.monthTokens + owed };
  }

  /** A request is let in, by what is held. */
  begin(): void {
    if (this.caller.requestsPerMinute !== null) this.#slice = Math.max(0, this.#slice - 1);
    this.#running += 1;
    this.#entered += 1;
  }

  /** A request is let in that the store is told of later. */
  beginUntold(): void {
    if (this.caller.requestsPerMinute !== null) this.#owedRequests += 1;
    this.#running += 1;
  }

  end(tokens: number): void {
    this.#running -= 1;
    this.charge(tokens);
  }

  /** The store is told of them later. */
  charge(tokens: number): void {
    const { tokensPerMinute, tokensPerDay, tokensPerMonth } = this.caller;
    if (tokensPerMinute !== null || tokensPerDay !== null || tokensPerMonth !== null) this.#owedTokens += tokens;
  }

  /** An interval has passed. */
  tick(): void {
    this.#recent = Math.max(this.#entered, Math.floor(this.#recent / 2));
    this.#entered = 0;
  }

  /** No more requests come. */
  rest(): void {
    this.#recent = 0;
    this.#entered = 0;
  }

  needsExchange(nowUnixMs: number, leaseMs: number, gateway: string): boolean {
    if (this.#hasUntold || this.#slice > 0 || this.#slots > this.#running) return true;
    if (this.#slots === 0) return false;
    return (this.#holding(gateway)?.untilMs ?? 0) - nowUnixMs < (leaseMs * 2) / 3;
  }

  /** Everything there is to tell, and what is held, which is nothing but running requests until the exchange is settled. */
  ask(exchange: number): OwnAsk {
    const ask: OwnAsk = {
      exchange,
      givenBack: this.#slice,
      owedRequests: this.#owedRequests,
      owedTokens: this.#owedTokens,
      running: this.#running,
      ahead: Math.max(this.#recent, this.#entered),
    };
    this.#unsure = ask;
    this.#slice = 0;
    this.#slots = this.#running;
    this.#owedRequests = 0;
    this.#owedTokens = 0;
    this.isDirty = false;
    return ask;
  }

  /** The exchange happened. */
  settle(known: KnownAccount, gateway: string): void {
    this.known = known;
    this.#seenMs = performance.now();
    this.#unsure = null;
    this.#abandoned = [];
    const holding = this.#holding(gateway);
    this.#slice += holding?.slice ?? 0;
    this.#slots = holding?.slots ?? 0;
  }

  /** The account was read again: an exchange that may have happened did so, or not. */
  resolve(known: KnownAccount, gateway: string): void {
    this.known = known;
    const unsure = this.#unsure;
    if (unsure === null) return;
    this.#unsure = null;
    const holding = this.#holding(gateway);
    if (holding?.exchange === unsure.exchange) {
      this.#slice += holding.slice;
      this.#abandoned = [];
      return;
    }
    this.#slice += unsure.givenBack;
    this.#owedRequests += unsure.owedRequests;
    this.#owedTokens += unsure.owedTokens;
    this.#abandoned = [...this.#abandoned.slice(1 - mostAbandoned), unsure];
  }

  /** An ask without what the account shows to have been heard after all. */
  without<T extends OwnAsk>(ask: T, before: SharedAccount | null, gateway: string): T {
    const holding = before?.holdings[gateway];
    const heard = this.#abandoned.find(({ exchange }) => exchange === holding?.exchange);
    if (heard === undefined || holding === undefined) return ask;
    return {
      ...ask,
      // It brought a slice that nobody used.
      givenBack: ask.givenBack - heard.givenBack + holding.slice,
      owedRequests: ask.owedRequests - heard.owedRequests,
      owedTokens: ask.owedTokens - heard.owedTokens,
    };
  }

  #holding(gateway: string): Holding | undefined {
    return this.known?.account?.holdings[gateway];
  }

  #shared(nowUnixMs: number): SharedAccount {
    return drained(this.known?.account ?? null, this.caller, nowUnixMs);
  }
}

function refusalOf(check: () => void): StatorError | null {
  try {
    check();
    return null;
  } catch (thrown) {
    return StatorError.from(thrown);
  }
}
