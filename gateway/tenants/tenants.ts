import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import type { Logger } from 'pino';
import { StatorError } from '#lib/errors/errors.ts';
import { anybody, type Caller, currentCaller } from './caller.ts';
import { type KeyTable, loadKeys } from './key-file.ts';
import type { Limits } from './limits.ts';

export interface TenantsOptions {
  /** Unset: everybody may call. */
  readonly keysFile: string | undefined;
  /** Milliseconds between looks at the file. */
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

/** Who may call, and what: keys from a file that is read again when it changes, limits, and what keeps tenants apart. */
export class Tenants {
  readonly limits: Limits;
  readonly #o: TenantsOptions;
  #table: KeyTable = { keys: new Map(), tenants: new Map() };
  #fingerprint = '';
  #timer: NodeJS.Timeout | undefined;
  /** Why the file as it is now is not in force; null: it is. */
  #problem: string | null = null;

  /** Throws `invalid_argument` for a file that cannot be used. */
  constructor(options: TenantsOptions) {
    this.#o = options;
    this.limits = options.limits;
    const { keysFile, reloadMs } = options;
    if (keysFile === undefined) return;
    this.#fingerprint = fingerprintOf(keysFile);
    this.#use(loadKeys(keysFile));
    // Watches miss what Kubernetes does with symbolic links.
    this.#timer = setInterval(() => this.#reload(keysFile), reloadMs).unref();
  }

  /** Whether callers must say who they are. */
  get required(): boolean {
    return this.#o.keysFile !== undefined || this.#o.verifyToken !== undefined;
  }

  get problem(): string | null {
    return this.#problem;
  }

  /** Who sends these headers; throws `unauthenticated`. */
  async authenticate(credentials: Credentials): Promise<Caller> {
    if (!this.required) return anybody;
    const token = tokenOf(credentials);
    if (token === '') {
      throw new StatorError('unauthenticated', 'An API key is required: send it as `authorization: Bearer <key>`.');
    }
    const known = this.#table.keys.get(createHash('sha256').update(token).digest('hex'));
    if (known !== undefined) {
      const isExpired = known.expiresUnixMs !== null && known.expiresUnixMs <= Date.now();
      if (!known.disabled && !isExpired) return known.caller;
      throw new StatorError('unauthenticated', `The API key ${isExpired ? 'has expired' : 'is disabled'}.`);
    }
    const vouched = await this.#o.verifyToken?.(token, this.#table.tenants);
    if (vouched !== undefined && vouched !== null) return vouched;
    throw new StatorError('unauthenticated', 'The API key is not valid.');
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
    clearInterval(this.#timer);
  }

  #use(table: KeyTable): void {
    this.#table = table;
    this.#o.onKeys?.(table.keys.size);
  }

  #reload(keysFile: string): void {
    const now = fingerprintOf(keysFile);
    if (now === this.#fingerprint) return;
    this.#fingerprint = now;
    try {
      this.#use(loadKeys(keysFile));
      this.#problem = null;
      this.#o.log.info({ keys: this.#table.keys.size }, 'API keys were read again');
    } catch (thrown) {
      this.#problem = StatorError.from(thrown).message;
      this.#o.log.error({ err: thrown }, 'the file of API keys changed but cannot be used; the old keys stay');
    }
  }
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
