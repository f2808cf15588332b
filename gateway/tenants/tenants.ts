import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import type { Logger } from 'pino';
import { StatorError } from '#lib/errors/errors.ts';
import { anybody, type Caller, currentCaller, isOfProvider } from './caller.ts';
import type { ApiKey, KeyTable } from './key-entry.ts';
import { loadKeys } from './key-file.ts';
import type { Limits } from './limits.ts';
import type { StoredKeys } from './stored-keys.ts';

export interface TenantsOptions {
  readonly keysFile: string | undefined;
  /** Read once already. With neither: everybody may call. */
  readonly storedKeys: StoredKeys | undefined;
  /** Milliseconds between looks at both. */
  readonly reloadMs: number;
  readonly limits: Limits;
  readonly log: Logger;
  /** Told how many keys are in force. */
  readonly onKeys?: (count: number) => void;
  /** Vouches for callers whose token is none of our keys; null for one that it does not know. */
  readonly verifyToken?: ((token: string, tenants: KeyTable['tenants']) => Promise<Caller | null>) | undefined;
}

/** What a request asks for that its caller may not get. */
interface Asked {
  readonly priority: number;
  readonly cacheSalt: string;
  readonly routing: { readonly queuePriority: number; readonly strictPriority: number };
}

/** What a request says about who sends it; empty: nothing. */
export interface Credentials {
  readonly authorization: string;
  /** `x-api-key`, as Anthropic's clients send it. */
  readonly apiKey: string;
}

/** Changes of stored keys are told; this long one that was not may go unseen. */
const storedKeysAgeMs = 60_000;

/** Who may call, and what: keys from a file and a store that are read again when they change, limits, and what keeps tenants apart. */
export class Tenants {
  readonly limits: Limits;
  readonly #o: TenantsOptions;
  #file: KeyTable = { keys: new Map(), ids: new Map(), tenants: new Map() };
  #fingerprint = '';
  readonly #timers: NodeJS.Timeout[] = [];
  /** Why the file, or the store, as it is now is not in force; null: it is. */
  #fileProblem: string | null = null;
  #storeProblem: string | null = null;
  #refreshing = false;

  /** Throws `invalid_argument` for a file that cannot be used. */
  constructor(options: TenantsOptions) {
    this.#o = options;
    this.limits = options.limits;
    const { keysFile, storedKeys, reloadMs } = options;
    if (storedKeys !== undefined)
      this.#timers.push(setInterval(() => void this.#refresh(storedKeys), reloadMs).unref());
    if (keysFile !== undefined) {
      this.#fingerprint = fingerprintOf(keysFile);
      this.#file = loadKeys(keysFile);
      // Watches miss what Kubernetes does with symbolic links.
      this.#timers.push(setInterval(() => this.#reload(keysFile), reloadMs).unref());
    }
    this.#count();
  }

  /** Whether callers must say who they are. */
  get required(): boolean {
    const { keysFile, storedKeys, verifyToken } = this.#o;
    return keysFile !== undefined || storedKeys !== undefined || verifyToken !== undefined;
  }

  get problem(): string | null {
    return this.#fileProblem ?? this.#storeProblem;
  }

  /** Who sends these headers; throws `unauthenticated`. */
  async authenticate(credentials: Credentials): Promise<Caller> {
    if (!this.required) return anybody;
    const token = tokenOf(credentials);
    if (token === '') {
      throw new StatorError('unauthenticated', 'An API key is required: send it as `authorization: Bearer <key>`.');
    }
    const hash = createHash('sha256').update(token).digest('hex');
    const known = this.#file.keys.get(hash) ?? this.#o.storedKeys?.keys.get(hash);
    if (known !== undefined) return callerOf(known);
    const vouched = await this.#o.verifyToken?.(token, this.#file.tenants);
    if (vouched !== undefined && vouched !== null) return vouched;
    throw new StatorError('unauthenticated', 'The API key is not valid.');
  }

  /** Somebody who left work behind, as they may call now. Throws `unauthenticated` where they may no longer. */
  renewed(caller: Caller): Caller {
    if (!this.required) return caller;
    const known = this.#file.ids.get(caller.id) ?? this.#o.storedKeys?.ids.get(caller.id);
    if (known !== undefined) return callerOf(known);
    if (this.#o.verifyToken !== undefined && isOfProvider(caller)) {
      const policy = this.#file.tenants.get(caller.tenant) ?? this.#file.tenants.get('*');
      if (policy !== undefined) return { ...caller, ...policy };
    }
    throw new StatorError('unauthenticated', 'Whoever asked for this may no longer call.');
  }

  /** A request as its caller may make it: cached prompts apart from other tenants'. Throws `permission_denied`. */
  apply<T extends Asked>(request: T): T {
    if (!this.required) return request;
    const caller = this.caller();
    const { maxPriority } = caller;
    const { priority, routing } = request;
    const asked = Math.max(priority, routing.queuePriority, routing.strictPriority);
    if (maxPriority !== null && asked > maxPriority) {
      const message = `This key may ask for a priority of ${maxPriority} at most, not ${asked}.`;
      throw new StatorError('permission_denied', message, { field: 'priority', facts: { limit: maxPriority } });
    }
    return caller.sharedCache ? request : { ...request, cacheSalt: tenantSalt(caller.tenant, request.cacheSalt) };
  }

  /** Whose request is being answered. Throws `unauthenticated` where nobody's is although callers must say who they are. */
  caller(): Caller {
    const caller = currentCaller();
    if (caller !== undefined) return caller;
    if (!this.required) return anybody;
    throw new StatorError('unauthenticated', 'Nobody is known to have sent this request.');
  }

  close(): void {
    for (const timer of this.#timers) clearInterval(timer);
  }

  #count(): void {
    this.#o.onKeys?.(this.#file.keys.size + (this.#o.storedKeys?.keys.size ?? 0));
  }

  #reload(keysFile: string): void {
    const now = fingerprintOf(keysFile);
    if (now === this.#fingerprint) return;
    this.#fingerprint = now;
    try {
      this.#file = loadKeys(keysFile);
      this.#fileProblem = null;
      this.#count();
      this.#o.log.info({ keys: this.#file.keys.size }, 'API keys were read again');
    } catch (thrown) {
      this.#fileProblem = StatorError.from(thrown).message;
      this.#o.log.error({ err: thrown }, 'the file of API keys changed but cannot be used; the old keys stay');
    }
  }

  async #refresh(stored: StoredKeys): Promise<void> {
    if (this.#refreshing) return;
    this.#refreshing = true;
    try {
      if (await stored.refresh(storedKeysAgeMs)) this.#count();
      this.#storeProblem = null;
    } catch (thrown) {
      if (this.#storeProblem === null)
        this.#o.log.error({ err: thrown }, 'the store of API keys cannot be used; the old keys stay');
      this.#storeProblem = StatorError.from(thrown).message;
    } finally {
      this.#refreshing = false;
    }
  }
}

/** Whose a key is; throws `unauthenticated` where it is good no longer. */
function callerOf({ caller, disabled, expiresUnixMs }: ApiKey): Caller {
  const isExpired = expiresUnixMs !== null && expiresUnixMs <= Date.now();
  if (!disabled && !isExpired) return caller;
  throw new StatorError('unauthenticated', `The API key ${isExpired ? 'has expired' : 'is disabled'}.`);
}

/** Whether a caller may use a model, by any of the names that it goes by. Outside of requests everything is seen. */
export function mayUse(caller: Caller | undefined, names: readonly string[]): boolean {
  const patterns = caller?.models ?? null;
  return patterns === null || names.some((name) => patterns.some((pattern) => matches(pattern, name)));
}

/** The salt under which a tenant's prompts are cached: nobody else can name it. */
export function tenantSalt(tenant: string, salt: string): string {
  return createHash('sha256').update(`${tenant.length}:${tenant}${salt}`).digest('hex').slice(0, 32);
}

function tokenOf({ authorization, apiKey }: Credentials): string {
  const bearer = /^Bearer +(\S+) *$/i.exec(authorization)?.[1];
  return bearer ?? apiKey.trim();
}

/** `*` stands for any characters; everything else for itself. */
function matches(pattern: string, name: string): boolean {
  const parts = pattern.split('*');
  const [first = '', ...rest] = parts;
  const last = rest.pop();
  if (last === undefined) return pattern === name;
  if (!name.startsWith(first) || name.length < first.length + last.length || !name.endsWith(last)) return false;
  let at = first.length;
  for (const part of rest) {
    const found = name.indexOf(part, at);
    if (found < 0 || found + part.length > name.length - last.length) return false;
    at = found + part.length;
  }
  return true;
}

function fingerprintOf(path: string): string {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat === undefined ? '' : `${stat.ino}:${stat.mtimeMs}:${stat.size}`;
}
