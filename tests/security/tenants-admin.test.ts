import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { connect as connectTls } from 'node:tls';
import { expect } from 'chai';
import { type GatewayConfig, gatewaySettings } from '#gateway/config.ts';
import { type GatewayService, startGateway } from '#gateway/service.ts';
import { defaultSettings } from '#lib/config/settings.ts';
import { openDiscovery } from '#lib/discovery/open.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { Certificates, opensslFound } from '#lib/rpc/testing/certificates.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { skip } from '#tests/support/skip.ts';

const internalToken = 'the-internal-token';
const admin = { authorization: `Bearer ${internalToken}` };
const administration = ['/metrics', '/busy_threshold', '/console', '/console/', '/console/state', '/console/style.css'];

interface World extends AsyncDisposable {
  readonly gateway: GatewayService;
  readonly publicUrl: string;
  readonly adminUrl: string;
}

let worlds = 0;

async function startWorld(changes: Partial<GatewayConfig> = {}): Promise<World> {
  const telemetry = quietTelemetry();
  const discovery = await openDiscovery('memory:', { namespace: `admin-${worlds++}`, ttlSeconds: 10, telemetry });
  const config = {
    ...defaultSettings(gatewaySettings),
    listen: '127.0.0.1:0',
    adminListen: '127.0.0.1:0',
    shutdownGraceSeconds: 1,
    ...changes,
  };
  const { signal } = new AbortController();
  const stopDiscovery = (): Promise<void> => discovery.close();
  const started = startGateway(config, { telemetry, discovery, shutdown: signal, instanceId: 7n });
  const gateway = await started.catch(async (thrown: unknown) => {
    await stopDiscovery();
    throw thrown;
  });
  return {
    gateway,
    publicUrl: `http://${gateway.address}`,
    adminUrl: `http://${gateway.adminAddress ?? gateway.address}`,
    async [Symbol.asyncDispose]() {
      await gateway.stop();
      await stopDiscovery();
    },
  };
}

/** Sends exactly this and gives the whole answer. */
async function raw(address: string, request: string): Promise<string> {
  const [host = '', port = ''] = address.split(':');
  const socket = connect({ host, port: Number(port) });
  socket.end(request);
  return text(socket);
}

describe('administration on a port of its own', function () {
  this.timeout(60_000);

  it('is not on the public port, whoever asks and however', async () => {
    await using world = await startWorld({ internalToken });
    const { address, adminAddress } = world.gateway;
    const unknown = await (await fetch(`${world.publicUrl}/no-such-path`, { headers: admin })).text();
    for (const path of administration) {
      for (const method of ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH']) {
        const response = await fetch(world.publicUrl + path, { method, headers: admin });
        expect(response.status, `${method} ${path}`).to.equal(404);
      }
      const told = await (await fetch(world.publicUrl + path, { headers: admin })).text();
      expect(told, `${path} tells nothing`).to.equal(unknown.replace('/no-such-path', path));
    }
    const auth = `authorization: ${admin.authorization}`;
    for (const target of [
      '/%6detrics',
      '/metrics?x=1',
      '/metrics#x',
      '//metrics',
      '/./metrics',
      '/v1/../metrics',
      '/v1/..%2fmetrics',
      '/METRICS',
      '/metrics/',
      '/metrics%00',
      '/metrics;x',
      '\\metrics',
      `http://${adminAddress}/metrics`,
      `http://${address}/metrics`,
      '/console/..%2fstate',
      '/console/%73tate',
    ]) {
      const answer = await raw(
        address,
        `GET ${target} HTTP/1.1\r\nhost: ${adminAddress}\r\n${auth}\r\nx-forwarded-for: 127.0.0.1\r\nx-original-url: /metrics\r\nx-rewrite-url: /metrics\r\nconnection: close\r\n\r\n`,
      );
      expect(answer, target).to.match(/^HTTP\/1\.1 4/);
      expect(answer, target).not.to.contain('stator_');
    }
  });

  it('is not on the public port by HTTP/2 either', async () => {
    await using world = await startWorld({ internalToken });
    const session = connectHttp2(world.publicUrl);
    for (const path of administration) {
      const stream = session.request({ ':path': path, ':authority': world.gateway.adminAddress ?? '', ...admin });
      const [headers] = (await once(stream, 'response')) as [Record<string, unknown>];
      expect(headers[':status'], path).to.equal(404);
      stream.resume();
      await once(stream, 'close');
    }
    session.close();
  });

  it('is on its own port, for those with the token', async () => {
    await using world = await startWorld({ internalToken });
    for (const path of ['/busy_threshold', '/console/state']) {
      expect((await fetch(world.adminUrl + path)).status, path).to.equal(401);
      const wrong = { authorization: 'Bearer the-internal-tokem' };
      expect((await fetch(world.adminUrl + path, { headers: wrong })).status, path).to.equal(401);
      expect((await fetch(world.adminUrl + path, { headers: admin })).status, path).to.equal(200);
    }
    expect(await (await fetch(`${world.adminUrl}/metrics`, { headers: admin })).text()).to.contain('stator_');
    expect((await fetch(`${world.adminUrl}/console`)).status).to.equal(200);
  });

  it('has the whole of /health; the public port says whether it serves, and nothing of workers', async () => {
    await using world = await startWorld();
    const keysOf = async (url: string): Promise<string[]> => Object.keys((await (await fetch(url)).json()) as object);
    expect(await keysOf(`${world.publicUrl}/health`)).to.deep.equal(['status', 'degradations']);
    expect(await keysOf(`${world.adminUrl}/health`)).to.include.members(['models', 'instances']);
    for (const url of [world.publicUrl, world.adminUrl]) expect((await fetch(`${url}/live`)).status).to.equal(200);
  });

  it('without a token lets in this machine, but no page of another origin and nothing that a proxy passes on', async () => {
    await using world = await startWorld();
    const { adminAddress } = world.gateway;
    const statusOf = async (headers: string): Promise<string | undefined> =>
      (await raw(adminAddress ?? '', `GET /console/state HTTP/1.1\r\n${headers}\r\nconnection: close\r\n\r\n`)).split(
        ' ',
      )[1];
    expect(await statusOf(`host: ${adminAddress}`)).to.equal('200');
    expect(await statusOf('host: rebound.example.org')).to.equal('403');
    expect(await statusOf(`host: ${adminAddress}\r\norigin: https://evil.example.org`)).to.equal('403');
    expect(await statusOf(`host: ${adminAddress}\r\nx-forwarded-for: 203.0.113.9`)).to.equal('403');
    const forged = await fetch(`${world.adminUrl}/busy_threshold`, {
      method: 'POST',
      headers: { 'content-type': 'text/plain', origin: 'https://evil.example.org' },
      body: '{"model":"x","active_decode_blocks_threshold":0.01}',
    });
    expect(forged.status).to.equal(403);
  });

  it('is refused beyond this machine without a token', async () => {
    const thrown = await startWorld({ adminListen: '0.0.0.0:0' }).catch((error: unknown) => error);
    expect(thrown).to.be.instanceOf(StatorError).and.include({ code: 'invalid_argument' });
    expect((thrown as Error).message).to.contain('internalToken');
  });

  it('stays on the one port where there is no other', async () => {
    await using world = await startWorld({ adminListen: undefined });
    expect(world.gateway.adminAddress).to.equal(null);
    for (const path of ['/metrics', '/busy_threshold', '/console', '/console/state'])
      expect((await fetch(world.publicUrl + path)).status, path).to.equal(200);
  });

  it('speaks TLS with the same certificate, and asks for clients’ certificates where the public port does', async function () {
    if (!opensslFound()) skip(this, 'there is no openssl command to make certificates with');
    const certificates = new Certificates();
    try {
      const { cert, key } = certificates.issue('gateway');
      await using world = await startWorld({ tlsCert: cert, tlsKey: key, tlsCa: certificates.ca, internalToken });
      const [host = '', port = ''] = (world.gateway.adminAddress ?? '').split(':');
      const plain = await raw(world.gateway.adminAddress ?? '', 'GET /live HTTP/1.1\r\nhost: x\r\n\r\n').catch(
        () => '',
      );
      expect(plain).not.to.contain('200 OK');
      const ask = async (client: object): Promise<string> => {
        const socket = connectTls({ host, port: Number(port), rejectUnauthorized: false, ...client });
        socket.end(
          `GET /console/state HTTP/1.1\r\nhost: ${host}\r\nauthorization: ${admin.authorization}\r\nconnection: close\r\n\r\n`,
        );
        return text(socket).catch((error: unknown) => String(error));
      };
      const { readFileSync } = await import('node:fs');
      const mine = certificates.issue('operator');
      expect(await ask({ cert: readFileSync(mine.cert), key: readFileSync(mine.key) })).to.contain('200 OK');
      expect(await ask({})).not.to.contain('200 OK');
    } finally {
      certificates.remove();
    }
  });
});
