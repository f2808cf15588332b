import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { StatorError } from '#lib/errors/errors.ts';
import type { Store } from '#lib/store/store.ts';
import type { Caller } from './caller.ts';
import { expiryOf, type SharedAccount } from './shared-account.ts';

/** An account as it was read or written last; version 0: there is none. */
export interface KnownAccount {
  readonly account: SharedAccount | null;
  readonly version: number;
}

const collection = 'limits';
/** Of gateways that change one account at once one wins each time; far more tries than gateways that may meet. */
const mostTries = 50;
const longestPauseMs = 20;

const amount = z.number().min(0);
const stored = z.object({
  requests: amount,
  tokens: amount,
  atMs: amount,
  spent: z.object({ day: z.string(), dayTokens: amount, month: z.string(), monthTokens: amount }),
  holdings: z.record(z.string(), z.object({ exchange: amount, slice: amount, slots: amount, untilMs: amount })),
});

/** The accounts of callers in the store that gateways share. */
export class LimitAccounts {
  readonly #store: Store;
  readonly #leaseMs: number;
  readonly #onConflict: () => void;

  constructor(store: Store, leaseMs: number, onConflict: () => void) {
    this.#store = store;
    this.#leaseMs = leaseMs;
    this.#onConflict = onConflict;
  }

  /** Throws `storage_unavailable`. */
  async read(caller: Caller): Promise<KnownAccount> {
    const found = await this.#store.get(collection, keyOf(caller));
    if (found === null) return { account: null, version: 0 };
    return { account: accountOf(found.value), version: found.version };
  }

  /** Changes an account, over whatever others have made of it meanwhile. Throws `storage_unavailable`, or what `signal` says. */
  async change(
    caller: Caller,
    known: KnownAccount,
    change: (before: SharedAccount | null) => SharedAccount,
    signal: AbortSignal,
  ): Promise<KnownAccount & { readonly account: SharedAccount }> {
    let latest = known;
    for (let tries = 1; ; tries++) {
      signal.throwIfAborted();
      const account = change(latest.account);
      const value = Buffer.from(JSON.stringify(account));
      const expiresUnixMs = expiryOf(account, caller, this.#leaseMs);
      try {
        const o = { ifVersion: latest.version, expiresUnixMs };
        return { account, version: await this.#store.put(collection, keyOf(caller), value, o) };
      } catch (thrown) {
        if (StatorError.from(thrown).code !== 'conflict') throw thrown;
        this.#onConflict();
        if (tries >= mostTries) throw new StatorError('storage_unavailable', 'Too many gateways count at once.');
      }
      if (tries > 2) await sleep(Math.random() * Math.min(longestPauseMs, tries));
      latest = await this.read(caller);
    }
  }
}

/** Identity providers name callers as they like; `#` is in no name of a key. */
function keyOf({ id }: Caller): string {
  return /^[\w.@:-]{1,128}$/.test(id) ? id : `#${createHash('sha256').update(id).digest('hex')}`;
}

/** What cannot be read counts as nothing: limits begin anew. */
function accountOf(value: Uint8Array): SharedAccount | null {
  try {
    return stored.parse(JSON.parse(Buffer.from(value).toString()));
  } catch {
    return null;
  }
}
