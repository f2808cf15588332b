import { createHash } from 'node:crypto';
import { StatorError } from '#lib/errors/errors.ts';
import { anybody, type Caller, currentCaller, isOfProvider } from './caller.ts';
import type { FileKeys } from './file-keys.ts';
import type { ApiKey, KeyTable } from './key-entry.ts';
import type { KeySource } from './key-source.ts';
import type { Limits } from './limits.ts';

export interface TenantsOptions {
  /** With neither: everybody may call. */
  readonly file: FileKeys | undefined;
  readonly stored: KeySource | undefined;
  /** Milliseconds after which keys that could not be compared with their source let nobody in; null: they always do. */
  readonly mostStaleMs: number | null;
  readonly limits: Limits;
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

const noTenants: KeyTable['tenants'] = new Map();

/** Who may call, and what: keys from files and stores as they are now, limits, and what keeps tenants apart. */
export class Tenants {
  readonly limits: Limits;
  readonly #o: TenantsOptions;
  readonly #sources: readonly KeySource[];

  constructor(options: TenantsOptions) {
    this.#o = options;
    this.limits = options.limits;
    this.#sources = [options.file, options.stored].filter((source) => source !== undefined);
  }

  /** Whether callers must say who they are. */
  get required(): boolean {
    return this.#sources.length > 0 || this.#o.verifyToken !== undefined;
  }

  get problem(): string | null {
    return this.#sources.find(({ problem }) => problem !== null)?.problem ?? null;
  }

  /** Keys in force, and records that are none. */
  get counts(): { readonly keys: number; readonly refused: number } {
    let [keys, refused] = [0, 0];
    for (const source of this.#sources) {
      keys += source.keys.size;
      refused += source.refused;
    }
    return { keys, refused };
  }

  /** Milliseconds since all sources were last known to be as they are in force here. */
  get ageMs(): number {
    const nowMs = performance.now();
    return Math.max(0, ...this.#sources.map(({ seenMs }) => nowMs - seenMs));
  }

  /** Who sends these headers; throws `unauthenticated`. */
  async authenticate(credentials: Credentials): Promise<Caller> {
    if (!this.required) return anybody;
    const token = tokenOf(credentials);
    if (token === '') {
      throw new StatorError('unauthenticated', 'An API key is required: send it as `authorization: Bearer <key>`.');
    }
    const hash = createHash('sha256').update(token).digest('hex');
    const known = this.#find(({ keys }) => keys.get(hash));
    if (known !== undefined) return callerOf(known);
    const vouched = await this.#o.verifyToken?.(token, this.#tenants);
    if (vouched !== undefined && vouched !== null) return vouched;
    throw new StatorError('unauthenticated', 'The API key is not valid.');
  }

  /** Somebody who left work behind, as they may call now. Throws `unauthenticated` where they may no longer. */
  renewed(caller: Caller): Caller {
    if (!this.required) return caller;
    const known = this.#find(({ ids }) => ids.get(caller.id));
    if (known !== undefined) return callerOf(known);
    if (this.#o.verifyToken !== undefined && isOfProvider(caller)) {
      const policy = this.#tenants.get(caller.tenant) ?? this.#tenants.get('*');
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

  async close(): Promise<void> {
    for (const source of this.#sources) await source.close();
  }

  get #tenants(): KeyTable['tenants'] {
    return this.#o.file?.tenants ?? noTenants;
  }

  /** A key of the first source that has it. Throws `storage_unavailable` where that source was away for too long. */
  #find(lookUp: (source: KeySource) => ApiKey | undefined): ApiKey | undefined {
    for (const source of this.#sources) {
      const found = lookUp(source);
      if (found === undefined) continue;
      const { mostStaleMs } = this.#o;
      if (mostStaleMs === null || performance.now() - source.seenMs <= mostStaleMs) return found;
      throw new StatorError('storage_unavailable', 'API keys cannot be checked now: where they are does not answer.');
    }
    return undefined;
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
