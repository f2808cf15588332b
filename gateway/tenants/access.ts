import { StatorError } from '#lib/errors/errors.ts';
import type { AuditLog } from './audit-log.ts';
import { type Call, callOf, usedTokens, within } from './caller.ts';
import type { Entry, RateState } from './limits.ts';
import type { Credentials, Tenants } from './tenants.ts';

/** What a request is, for the audit log. */
export interface RequestFacts {
  readonly requestId: string;
  readonly method: string;
  readonly path: string;
  /** Address of who sent it; empty: unknown. */
  readonly remoteAddress: string;
}

/** A request that was let in; `end` must be called once. */
export interface Admission {
  readonly call: Call;
  /** What is left of the caller's limits. */
  readonly rates: RateState;
  /** The request ended; null: it was answered. */
  end(thrown: unknown): void;
}

/** The way in for REST and gRPC alike: who calls, within which limits, and a record of it. */
export class Access {
  readonly tenants: Tenants;
  readonly #audit: AuditLog | null;

  constructor(tenants: Tenants, audit: AuditLog | null) {
    this.tenants = tenants;
    this.#audit = audit;
  }

  /** Runs work that counts for no limit, as whoever sends these headers. Throws `unauthenticated`. */
  async as<T>(credentials: Credentials, facts: RequestFacts, work: () => T): Promise<Awaited<T>> {
    const call = callOf(await this.#authenticate(credentials, facts));
    const startMs = performance.now();
    try {
      const answer = await within(call, work);
      this.#record(call, facts, startMs, null);
      return answer;
    } catch (thrown) {
      this.#record(call, facts, startMs, thrown);
      throw thrown;
    }
  }

  /** Runs what an administrator asks, once `check` has let them; looking on is not recorded, being refused and changing is. */
  async administer<T>(facts: RequestFacts, check: () => void, work: () => T): Promise<Awaited<T>> {
    const startMs = performance.now();
    try {
      check();
      const answer = await work();
      if (facts.method !== 'GET' && facts.method !== 'HEAD') this.#administered(facts, startMs, 'answered');
      return answer;
    } catch (thrown) {
      this.#administered(facts, startMs, StatorError.from(thrown).code);
      throw thrown;
    }
  }

  /** Lets a request in that work is done for. Throws `unauthenticated` or `rate_limited`. */
  async admit(credentials: Credentials, facts: RequestFacts): Promise<Admission> {
    const caller = await this.#authenticate(credentials, facts);
    const call = callOf(caller);
    const startMs = performance.now();
    let entry: Entry;
    try {
      entry = await this.tenants.limits.enter(caller);
    } catch (thrown) {
      this.#record(call, facts, startMs, thrown);
      throw thrown;
    }
    const end = (thrown: unknown): void => {
      entry.leave(usedTokens(call));
      this.#record(call, facts, startMs, thrown);
    };
    return { call, rates: entry.rates, end };
  }

  /** Ends once limits have been told what was used. */
  async close(): Promise<void> {
    await this.tenants.close();
    this.#audit?.close();
    await this.tenants.limits.close();
  }

  async #authenticate(credentials: Credentials, facts: RequestFacts): ReturnType<Tenants['authenticate']> {
    try {
      return await this.tenants.authenticate(credentials);
    } catch (thrown) {
      this.#audit?.refused(facts, StatorError.from(thrown).code);
      throw thrown;
    }
  }

  #administered(facts: RequestFacts, startMs: number, outcome: string): void {
    this.#audit?.administered(facts, { outcome, durationMs: Math.round(performance.now() - startMs) });
  }

  #record(call: Call, facts: RequestFacts, startMs: number, thrown: unknown): void {
    const outcome = thrown === null ? 'answered' : StatorError.from(thrown).code;
    this.#audit?.ended(facts, call, { outcome, durationMs: Math.round(performance.now() - startMs) });
  }
}
