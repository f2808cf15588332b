import { createHash } from 'node:crypto';
import { createRemoteJWKSet, errors, type JWTPayload, type JWTVerifyGetKey, jwtVerify } from 'jose';
import { z } from 'zod';
import { StatorError } from '#lib/errors/errors.ts';
import { isLoopback } from '#lib/rpc/address.ts';
import { type Caller, type Policy, providerId, unlimited } from './caller.ts';

export interface OidcOptions {
  /** As tokens name it; its keys are found below it by OpenID Connect Discovery. */
  readonly issuer: string;
  /** What tokens must be meant for. */
  readonly audience: string;
  /** Claim that names the tenant. */
  readonly tenantClaim: string;
}

// Symmetric ones are left out: they would make the public key a secret that everybody knows.
const algorithms = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'];

/** How long a token is believed without looking at its signature again, and how many are remembered. */
const rememberMs = 60_000;
const maxRemembered = 10_000;
/** A token far beyond what providers make is not looked at. */
const maxTokenLength = 16 * 1024;
const fetchTimeoutMs = 5000;
/** Between attempts to reach a provider that does not answer. */
const retryMs = 2000;
const clockToleranceSeconds = 30;

const discoveryDocument = z.object({ issuer: z.string(), jwks_uri: z.url() });

interface Remembered {
  readonly caller: Caller;
  readonly untilMs: number;
}

/** Believes tokens that an OpenID Connect provider has signed. Policies are those of the tenants in the file of keys. */
export class OidcVerifier {
  readonly #o: OidcOptions;
  readonly #remembered = new Map<string, Remembered>();
  #keys: Promise<JWTVerifyGetKey> | undefined;
  #failedMs = Number.NEGATIVE_INFINITY;

  /** Throws `invalid_argument` for an issuer that cannot be asked safely. */
  constructor(options: OidcOptions) {
    checkUrl(options.issuer, 'oidcIssuer');
    this.#o = options;
  }

  /**
   * Whom a token speaks for; null for what is no token of this kind. Throws `unauthenticated` for one that is not valid,
   * `permission_denied` for a tenant without a policy, `not_ready` while the provider cannot be reached.
   */
  async verify(token: string, tenants: ReadonlyMap<string, Policy>): Promise<Caller | null> {
    if (token.length > maxTokenLength || token.split('.').length !== 3) return null;
    const digest = createHash('sha256').update(token).digest('base64');
    const known = this.#remembered.get(digest);
    const nowMs = Date.now();
    if (known !== undefined && known.untilMs > nowMs) return this.#withPolicy(known.caller, tenants);
    const payload = await this.#payload(token);
    const caller = this.#callerOf(payload);
    const allowed = this.#withPolicy(caller, tenants);
    if (this.#remembered.size >= maxRemembered) this.#remembered.clear();
    const expiresMs = (payload.exp ?? 0) * 1000;
    this.#remembered.set(digest, { caller, untilMs: Math.min(expiresMs, nowMs + rememberMs) });
    return allowed;
  }

  async #payload(token: string): Promise<JWTPayload> {
    const keys = await this.#providerKeys();
    const { issuer, audience } = this.#o;
    const checks = {
      issuer,
      audience,
      algorithms,
      clockTolerance: clockToleranceSeconds,
      requiredClaims: ['exp', 'sub'],
    };
    try {
      return (await jwtVerify(token, keys, checks)).payload;
    } catch (cause) {
      if (cause instanceof errors.JWKSTimeout || !(cause instanceof errors.JOSEError)) throw unreachable(cause);
      throw new StatorError('unauthenticated', `The token is not valid: ${cause.message}.`, { cause });
    }
  }

  #callerOf(payload: JWTPayload): Caller {
    const { tenantClaim } = this.#o;
    const tenant = payload[tenantClaim];
    if (typeof tenant === 'string' && /^[\w.@:-]{1,128}$/.test(tenant))
      return { ...unlimited, id: providerId(payload.sub ?? ''), tenant };
    throw new StatorError('permission_denied', `The token's claim \`${tenantClaim}\` names no tenant.`);
  }

  #withPolicy(caller: Caller, tenants: ReadonlyMap<string, Policy>): Caller {
    const policy = tenants.get(caller.tenant) ?? tenants.get('*');
    if (policy !== undefined) return { ...caller, ...policy };
    throw new StatorError('permission_denied', `The tenant ${caller.tenant} may not use this gateway.`);
  }

  /** The provider's keys, found once; jose fetches them again when a token names one that it does not know. */
  #providerKeys(): Promise<JWTVerifyGetKey> {
    if (this.#keys !== undefined) return this.#keys;
    const nowMs = performance.now();
    if (nowMs - this.#failedMs < retryMs) return Promise.reject(unreachable(undefined));
    const keys = this.#discover().catch((cause: unknown) => {
      this.#keys = undefined;
      this.#failedMs = performance.now();
      throw unreachable(cause);
    });
    this.#keys = keys;
    return keys;
  }

  async #discover(): Promise<JWTVerifyGetKey> {
    const { issuer } = this.#o;
    const url = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`;
    const response = await fetch(url, { signal: AbortSignal.timeout(fetchTimeoutMs), redirect: 'error' });
    if (!response.ok) throw new Error(`${url} answered ${response.status}`);
    const document = discoveryDocument.parse(await response.json());
    if (document.issuer !== issuer) throw new Error(`${url} speaks for ${document.issuer}`);
    checkUrl(document.jwks_uri, 'oidcIssuer');
    return createRemoteJWKSet(new URL(document.jwks_uri), {
      timeoutDuration: fetchTimeoutMs,
      cooldownDuration: retryMs,
    });
  }
}

/** Whoever answers for an issuer over a readable line could sign anything. */
function checkUrl(text: string, field: string): void {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url?.protocol === 'https:' || (url?.protocol === 'http:' && isLoopback(url.hostname))) return;
  throw StatorError.invalid(field, `${field} must be an https URL, got ${JSON.stringify(text.slice(0, 200))}`);
}

function unreachable(cause: unknown): StatorError {
  return new StatorError('not_ready', 'The identity provider cannot be reached. Retry shortly.', {
    retryAfterMs: retryMs,
    cause,
  });
}
