import { AsyncLocalStorage } from 'node:async_hooks';

/** What a caller may do. Absent limits: none. */
export interface Policy {
  /** Names or patterns with `*`; null: every model. */
  readonly models: readonly string[] | null;
  readonly requestsPerMinute: number | null;
  /** Tokens of prompts and outputs together. */
  readonly tokensPerMinute: number | null;
  readonly concurrentRequests: number | null;
  /** Tokens from midnight to midnight, UTC. */
  readonly tokensPerDay: number | null;
  /** Tokens of a calendar month, UTC. */
  readonly tokensPerMonth: number | null;
  /** Highest priority that requests may ask for. */
  readonly maxPriority: number | null;
  /** Whether cached prompts are shared with callers of other tenants. */
  readonly sharedCache: boolean;
}

/** Who sent a request. Limits count for `id`, cached prompts belong to `tenant`. */
export interface Caller extends Policy {
  readonly id: string;
  readonly tenant: string;
}

export const unlimited: Policy = {
  models: null,
  requestsPerMinute: null,
  tokensPerMinute: null,
  concurrentRequests: null,
  tokensPerDay: null,
  tokensPerMonth: null,
  maxPriority: null,
  sharedCache: true,
};

/** Everybody, where no keys are configured. */
export const anybody: Caller = { ...unlimited, id: '', tenant: '' };

const providerPrefix = 'oidc:';

/** The id of a subject that an identity provider vouches for. */
export function providerId(subject: string): string {
  return `${providerPrefix}${subject}`.slice(0, 256);
}

export function isOfProvider({ id }: Caller): boolean {
  return id.startsWith(providerPrefix);
}

/** One request of a caller while it is being answered. */
export interface Call {
  readonly caller: Caller;
  /** Model that it turned out to ask for; empty: none yet. */
  model: string;
  readonly meters: (() => number)[];
}

// Every way to a model passes few places, and handlers of many APIs lie between them and the edge: carried beside the
// request, the caller cannot be forgotten by one of them.
const storage = new AsyncLocalStorage<Call>();

/** Runs work as a call; `currentCaller` says whose it is in everything that the work begins. */
export function within<T>(call: Call, work: () => T): T {
  return storage.run(call, work);
}

export function callOf(caller: Caller): Call {
  return { caller, model: '', meters: [] };
}

/** Whose request is being answered; undefined outside of any. */
export function currentCaller(): Caller | undefined {
  return storage.getStore()?.caller;
}

/** What the running call uses: `tokens` is read when it has ended. */
export function meter(model: string, tokens: () => number): void {
  const call = storage.getStore();
  if (call === undefined) return;
  call.model = model;
  call.meters.push(tokens);
}

export function usedTokens(call: Call): number {
  return call.meters.reduce((sum, tokens) => sum + tokens(), 0);
}
