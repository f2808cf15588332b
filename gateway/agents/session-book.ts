import { countNames, type SessionCounts, type SessionFacts } from './account-shard.ts';
import type { SessionAccount, SessionAccounts } from './accounts.ts';
import type { SessionNaming } from './redact.ts';

/** What a session used, as it is shown. */
export interface SessionFigures extends SessionFacts {
  readonly counts: SessionCounts;
  readonly running: number;
}

export interface ListedSessions {
  /** The one used last first. */
  readonly data: readonly SessionFigures[];
  /** All of the tenant's. */
  readonly sessions: number;
}

/** Where what sessions used can be looked up. */
export interface SessionBook {
  /** The account has changed, or is about to; costs next to nothing. */
  note(account: SessionAccount): void;
  list(tenant: string, limit: number): Promise<ListedSessions>;
  get(tenant: string, sessionId: string): Promise<SessionFigures | null>;
  close(): Promise<void>;
}

export function figuresOf(account: SessionAccount, naming: SessionNaming): SessionFigures {
  const { tenant, sessionId, parentSessionId, source, firstUnixMs, lastUnixMs, isFinal, running } = account;
  const [name, parentName] = [naming(sessionId), naming(parentSessionId)];
  return { tenant, name, parentName, source, firstUnixMs, lastUnixMs, isFinal, counts: countsOf(account), running };
}

export function countsOf(account: SessionAccount): SessionCounts {
  return Object.fromEntries(countNames.map((name) => [name, account[name]])) as SessionCounts;
}

/** The accounts of this gateway alone. */
export class LocalSessions implements SessionBook {
  readonly #accounts: SessionAccounts;
  readonly #naming: SessionNaming;

  constructor(accounts: SessionAccounts, naming: SessionNaming) {
    this.#accounts = accounts;
    this.#naming = naming;
  }

  note(): void {}

  async list(tenant: string, limit: number): Promise<ListedSessions> {
    const data = this.#accounts.list(tenant, limit).map((account) => figuresOf(account, this.#naming));
    return { data, sessions: this.#accounts.count(tenant) };
  }

  async get(tenant: string, sessionId: string): Promise<SessionFigures | null> {
    const account = this.#accounts.get(tenant, sessionId);
    return account === undefined ? null : figuresOf(account, this.#naming);
  }

  async close(): Promise<void> {}
}
