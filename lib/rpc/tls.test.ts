import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import tls from 'node:tls';
import { createClient } from '@connectrpc/connect';
import { createConnectTransport } from '@connectrpc/connect-node';
import { expect } from 'chai';
import { pino } from 'pino';
import { EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { createRpcClient, type RpcTarget, type TlsFiles } from './client.ts';
import { type RpcServer, startRpcServer } from './server.ts';
import { EngineSession } from './session/client.ts';
import { SessionServer } from './session/server.ts';
import { Certificates, opensslFound } from './testing/certificates.ts';
import { EngineStub } from './testing/engine-stub.ts';
import { Recorder } from './testing/recorder.ts';
import { ScriptRunner, scriptRequest, scriptTokens } from './testing/script-runner.ts';
import { until } from './testing/wait.ts';

describe('TLS', function () {
  // `openssl` makes the certificates; without it mocha shows these tests as pending.
  if (!opensslFound()) {
    it('needs the openssl command for its certificates');
    return;
  }
  this.timeout(60_000);

  let certificates: Certificates;
  let server: RpcServer;
  let runner: ScriptRunner;
  let sessions: SessionServer;
  const log: string[] = [];

  async function start(files: TlsFiles): Promise<void> {
    const telemetry = { ...quietTelemetry(), log: pino({ level: 'warn' }, { write: (line) => void log.push(line) }) };
    runner = new ScriptRunner();
    sessions = new SessionServer({ instanceId: 1n, runner, telemetry });
    const stub = new EngineStub();
    server = await startRpcServer({
      listen: '127.0.0.1:0',
      telemetry,
      services: [EngineService],
      routes: (router) =>
        router.service(EngineService, { abort: stub.abort, session: (...call) => sessions.handle(...call) }),
      tls: files,
      tlsReloadMs: 10,
    });
  }

  async function call(target: Partial<RpcTarget>): Promise<number | StatorError> {
    const rpc = createRpcClient(EngineService, { address: server.address, ...target }, quietTelemetry());
    try {
      return (await rpc.client.abort({ requestId: 'abc' })).aborted;
    } catch (thrown) {
      if (thrown instanceof StatorError) return thrown;
      throw thrown;
    } finally {
      rpc.close();
    }
  }

  beforeEach(() => {
    certificates = new Certificates();
  });

  afterEach(async () => {
    sessions.close();
    await server.stop(0);
    certificates.remove();
  });

  it('serves HTTP/2 and HTTP/1.1 on one port as ALPN agrees', async () => {
    await start(certificates.issue('server'));
    const ca = readFileSync(certificates.ca);
    expect(await call({ tls: { ca: certificates.ca } })).to.equal(3);
    for (const httpVersion of ['1.1', '2'] as const) {
      const transport = createConnectTransport({
        baseUrl: `https://${server.address}`,
        httpVersion,
        nodeOptions: { ca },
      });
      expect((await createClient(EngineService, transport).abort({ requestId: 'ab' })).aborted).to.equal(2);
    }
  });

  it('is not trusted without its authority', async () => {
    await start(certificates.issue('server'));
    expect(await call({ tls: {} })).to.be.instanceOf(StatorError);
    const foreign = new Certificates('other');
    expect(await call({ tls: { ca: foreign.ca } })).to.be.instanceOf(StatorError);
    foreign.remove();
  });

  it('checks the name in the certificate', async () => {
    await start(certificates.issue('server'));
    expect(await call({ tls: { ca: certificates.ca, serverName: 'localhost' } })).to.equal(3);
    expect(await call({ tls: { ca: certificates.ca, serverName: 'elsewhere' } })).to.be.instanceOf(StatorError);
  });

  it('with an authority asks clients for a certificate of it, and may then be reachable', async () => {
    await start({ ...certificates.issue('server'), ca: certificates.ca });
    expect(await call({ tls: { ca: certificates.ca, ...certificates.issue('client') } })).to.equal(3);
    expect(await call({ tls: { ca: certificates.ca } })).to.be.instanceOf(StatorError);
    const foreign = new Certificates('other');
    expect(await call({ tls: { ca: certificates.ca, ...foreign.issue('client') } })).to.be.instanceOf(StatorError);
    foreign.remove();
    const reachable = await startRpcServer({
      listen: '0.0.0.0:0',
      telemetry: quietTelemetry(),
      services: [],
      routes: () => {},
      tls: { ...certificates.issue('again'), ca: certificates.ca },
    });
    await reachable.stop(0);
  });

  it('uses renewed files without a restart, and keeps the old ones while the new do not fit', async () => {
    const files = certificates.issue('server');
    await start(files);
    const before = await serverSerial();
    const next = certificates.issue('renewed');
    certificates.replace(files, { cert: next.cert, key: files.key });
    await until(() => log.some((line) => line.includes('cannot be used')), 'the files are looked at');
    expect(await serverSerial()).to.equal(before);
    certificates.replace(files, next);
    let serial = before;
    while (serial === before) serial = await serverSerial();
    expect(await call({ tls: { ca: certificates.ca } })).to.equal(3);
  });

  it('carries sessions, mutual and all', async () => {
    await start({ ...certificates.issue('server'), ca: certificates.ca });
    const session = new EngineSession({
      target: { address: server.address, tls: { ca: certificates.ca, ...certificates.issue('client') } },
      gatewayId: 'test',
      telemetry: quietTelemetry(),
    });
    await session.ready(AbortSignal.timeout(30_000));
    const recorder = new Recorder();
    session.submit(scriptRequest(1, 20), recorder);
    await until(() => {
      runner.step();
      sessions.flushStep();
      return session.inFlight === 0;
    }, 'the sequence ends');
    expect(recorder.tokens).to.deep.equal(scriptTokens(1, 20));
    session.close();
  });

  it('refuses half a pair of files and files that are not there, naming the setting', async () => {
    await start(certificates.issue('server'));
    const open = (files: TlsFiles): Promise<unknown> =>
      startRpcServer({
        listen: '127.0.0.1:0',
        telemetry: quietTelemetry(),
        services: [],
        routes: () => {},
        tls: files,
      }).catch((thrown: unknown) => thrown);
    expect(await open({ cert: '/nowhere.crt' })).to.include({ code: 'invalid_argument', field: 'tlsCert' });
    const missing = await open({ cert: '/nowhere.crt', key: '/nowhere.key' });
    expect(String(missing)).to.include('tlsCert "/nowhere.crt" cannot be read: ENOENT');
  });

  async function serverSerial(): Promise<string> {
    const socket = tls.connect({ port: server.port, host: '127.0.0.1', rejectUnauthorized: false });
    await once(socket, 'secureConnect');
    const { serialNumber } = socket.getPeerCertificate();
    socket.destroy();
    return serialNumber;
  }
});
