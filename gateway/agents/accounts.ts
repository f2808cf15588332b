import type { AgentIdentity, IdentitySource } from './identity.ts';

/** What one session has used. Tokens of prompts that were computed anew are `promptTokens` - `cachedTokens`. */
export interface SessionAccount {
  readonly tenant: string;
  readonly sessionId: string;
  parentSessionId: string;
  readonly source: IdentitySource;
  readonly firstUnixMs: number;
  lastUnixMs: number;
  /** Whether the client said that no request follows. */
  isFinal: boolean;
  running: number;
  requests: number;
  failed: number;
  promptTokens: number;
  cachedTokens: number;
  outputTokens: number;
  /** Milliseconds in which workers computed its prompts. */
  prefillMs: number;
  /** Tokens of next turns that were computed in advance, cached ones included. */
  speculativeTokens: number;
  toolCalls: number;
  /** Calls whose results came back, and milliseconds until then. */
  toolResults: number;
  toolMs: number;
}

export interface SessionAccountsOptions {
  readonly maxSessions: number;
  /** Milliseconds without a request after which an account is forgotten. */
  readonly ttlMs: number;
  /** Unix time in milliseconds. */
  readonly nowMs: () => number;
  readonly onForgotten: (why: 'expired' | 'room') => void;
}

/** Accounts of sessions, each tenant's apart; bounded, the one unused for longest goes first. */
export class SessionAccounts {
  readonly #o: SessionAccountsOptions;
  /** In the order of their last use. */
  readonly #accounts = new Map<string, SessionAccount>();

  constructor(options: SessionAccountsOptions) {
    this.#o = options;
  }

  get size(): number {
    this.#expire();
    return this.#accounts.size;
  }

  /** The account of a session, made where there is none, as the one used last. */
  use(tenant: string, { sessionId, parentSessionId, source, isFinal }: AgentIdentity): SessionAccount {
    this.#expire();
    const key = keyOf(tenant, sessionId);
    const nowMs = this.#o.nowMs();
    const account = this.#accounts.get(key) ?? newAccount(tenant, sessionId, source, nowMs);
    this.#accounts.delete(key);
    this.#accounts.set(key, account);
    account.lastUnixMs = nowMs;
    if (parentSessionId !== '') account.parentSessionId = parentSessionId;
    account.isFinal = isFinal;
    this.#makeRoom();
    return account;
  }

  /** A session's account, if there is one. */
  get(tenant: string, sessionId: string): SessionAccount | undefined {
    this.#expire();
    return this.#accounts.get(keyOf(tenant, sessionId));
  }

  /** Accounts of a tenant, or with null of all, the one used last first. */
  list(tenant: string | null, limit: number): SessionAccount[] {
    this.#expire();
    const all = [...this.#accounts.values()].reverse();
    return all.filter((account) => tenant === null || account.tenant === tenant).slice(0, limit);
  }

  /** How many a tenant has. */
  count(tenant: string): number {
    this.#expire();
    let count = 0;
    for (const account of this.#accounts.values()) if (account.tenant === tenant) count++;
    return count;
  }

  #expire(): void {
    const before = this.#o.nowMs() - this.#o.ttlMs;
    for (const [key, account] of this.#accounts) {
      if (account.lastUnixMs > before) return;
      // What runs is in use, however long it takes.
      if (account.running > 0) account.lastUnixMs = this.#o.nowMs();
      this.#accounts.delete(key);
      if (account.running > 0) this.#accounts.set(key, account);
      else this.#o.onForgotten('expired');
    }
  }

  #makeRoom(): void {
    for (const key of this.#accounts.keys()) {
      if (this.#accounts.size <= this.#o.maxSessions) return;
      this.#accounts.delete(key);
      this.#o.onForgotten('room');
    }
  }
}

function newAccount(tenant: string, sessionId: string, source: IdentitySource, nowMs: number): SessionAccount {
  return {
    ...{ tenant, sessionId, source, parentSessionId: '', firstUnixMs: nowMs, lastUnixMs: nowMs, isFinal: false },
    ...{ running: 0, requests: 0, failed: 0, promptTokens: 0, cachedTokens: 0, outputTokens: 0, prefillMs: 0 },
    ...{ speculativeTokens: 0, toolCalls: 0, toolResults: 0, toolMs: 0 },
  };
}

function keyOf(tenant: string, sessionId: string): string {
  return `${tenant.length}:${tenant}${sessionId}`;
}
