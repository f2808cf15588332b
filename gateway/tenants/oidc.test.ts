import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect } from 'chai';
import { type CryptoKey, exportJWK, generateKeyPair, type JWK, SignJWT, UnsecuredJWT } from 'jose';
import { StatorError } from '#lib/errors/errors.ts';
import { unlimited } from './caller.ts';
import { OidcVerifier } from './oidc.ts';

/** An identity provider: discovery and keys over HTTP, and tokens that it signs. */
class Provider {
  readonly #server: Server;
  readonly keys: JWK[] = [];
  issuer = '';
  /** Who it says it is; empty: the truth. */
  claims = '';
  down = false;
  fetches = 0;

  constructor() {
    this.#server = createServer((request, response) => {
      this.fetches++;
      response.statusCode = this.down ? 503 : 200;
      const discovery = { issuer: this.claims || this.issuer, jwks_uri: `${this.issuer}/keys` };
      response.end(JSON.stringify(request.url === '/keys' ? { keys: this.keys } : discovery));
    });
  }

  async start(): Promise<void> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    this.issuer = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async newKey(kid: string): Promise<CryptoKey> {
    const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true });
    this.keys.push({ ...(await exportJWK(publicKey)), kid, alg: 'ES256', use: 'sig' });
    return privateKey;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }
}

async function refusal(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'believed',
    (thrown: unknown) => StatorError.from(thrown).code,
  );
}

describe('tokens of an identity provider', () => {
  const provider = new Provider();
  let key: CryptoKey;
  let verifier: OidcVerifier;
  const tenants = new Map([['team-a', { ...unlimited, maxPriority: 1, sharedCache: false }]]);

  before(async () => {
    await provider.start();
    key = await provider.newKey('first');
  });
  beforeEach(() => {
    provider.claims = '';
    provider.down = false;
    verifier = new OidcVerifier({ issuer: provider.issuer, audience: 'stator', tenantClaim: 'tenant' });
  });
  after(() => provider.stop());

  function draft(claims: object = {}, header: object = {}): SignJWT {
    const payload = { iss: provider.issuer, aud: 'stator', sub: 'ann', tenant: 'team-a', ...claims };
    return new SignJWT(payload)
      .setProtectedHeader({ alg: 'ES256', kid: 'first', ...header })
      .setIssuedAt()
      .setExpirationTime('1h');
  }

  it('speak for their subject under the policy of its tenant', async () => {
    const token = await draft().sign(key);
    const caller = await verifier.verify(token, tenants);
    expect(caller).to.deep.include({ id: 'oidc:ann', tenant: 'team-a', maxPriority: 1, sharedCache: false });
    const fetches = provider.fetches;
    await verifier.verify(token, tenants);
    expect(provider.fetches).to.equal(fetches);
    // The policy is looked up each time: it may change while tokens live.
    expect(await refusal(verifier.verify(token, new Map()))).to.equal('permission_denied');
  });

  it('are refused when anything about them is wrong', async () => {
    const { privateKey: foreign } = await generateKeyPair('ES256');
    const publicPem = new TextEncoder().encode(JSON.stringify(provider.keys[0]));
    const unsigned = new UnsecuredJWT({ tenant: 'team-a' })
      .setIssuer(provider.issuer)
      .setAudience('stator')
      .setSubject('ann')
      .setExpirationTime('1h')
      .encode();
    const attacks: Record<string, string> = {
      'another key': await draft().sign(foreign),
      'another audience': await draft({ aud: 'else' }).sign(key),
      'another issuer': await draft({ iss: 'https://else.example.org' }).sign(key),
      over: await draft().setExpirationTime('-5m').sign(key),
      'not begun': await draft().setNotBefore('5m').sign(key),
      'without end': await new SignJWT({ iss: provider.issuer, aud: 'stator', sub: 'ann', tenant: 'team-a' })
        .setProtectedHeader({ alg: 'ES256', kid: 'first' })
        .sign(key),
      unsigned: unsigned,
      'public key as secret': await draft({}, { alg: 'HS256', kid: 'first' }).sign(publicPem),
      'unknown key id': await draft({}, { alg: 'ES256', kid: 'nobody' }).sign(key),
      changed: (await draft().sign(key)).replace(
        /\.[^.]+\./,
        `.${Buffer.from('{"tenant":"team-b"}').toString('base64url')}.`,
      ),
    };
    for (const [name, token] of Object.entries(attacks))
      expect(await refusal(verifier.verify(token, tenants)), name).to.equal('unauthenticated');
    for (const tenant of [undefined, 7, '', '../x', 'team-b'])
      expect(await refusal(verifier.verify(await draft({ tenant }).sign(key), tenants))).to.equal('permission_denied');
    expect(await verifier.verify('sk-stator-something', tenants)).to.equal(null);
  });

  it('may be signed with a key that is new', async () => {
    await verifier.verify(await draft().sign(key), tenants);
    const second = await provider.newKey('second');
    const token = await draft({}, { alg: 'ES256', kid: 'second' }).sign(second);
    const fresh = new OidcVerifier({ issuer: provider.issuer, audience: 'stator', tenantClaim: 'tenant' });
    expect(await fresh.verify(token, tenants)).to.include({ tenant: 'team-a' });
  });

  it('wait while the provider cannot be reached, or is another', async () => {
    provider.down = true;
    const token = await draft().sign(key);
    expect(await refusal(verifier.verify(token, tenants))).to.equal('not_ready');
    provider.down = false;
    provider.claims = 'https://else.example.org';
    const other = new OidcVerifier({ issuer: provider.issuer, audience: 'stator', tenantClaim: 'tenant' });
    expect(await refusal(other.verify(token, tenants))).to.equal('not_ready');
  });

  it('come from providers that are asked over TLS only', () => {
    for (const issuer of ['http://login.example.org', 'ftp://x', 'login'])
      expect(() => new OidcVerifier({ issuer, audience: 'a', tenantClaim: 't' })).to.throw('https');
  });
});
