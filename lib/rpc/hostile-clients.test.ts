import { once } from 'node:events';
import http2 from 'node:http2';
import net, { type Socket } from 'node:net';
import tls from 'node:tls';
import { expect } from 'chai';
import { EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { type RpcServer, type RpcServerOptions, startRpcServer } from './server.ts';
import { Certificates, opensslFound } from './testing/certificates.ts';
import { closed, until } from './testing/wait.ts';

const large = Buffer.alloc(16 * 1024 ** 2, 'x');
const longMs = 30_000;

describe('hostile clients', function () {
  this.timeout(60_000);
  let server: RpcServer;
  let sockets: Socket[] = [];
  let gone = 0;
  let telemetry = quietTelemetry();

  async function start(options: Partial<RpcServerOptions> = {}): Promise<void> {
    telemetry = quietTelemetry();
    gone = 0;
    server = await startRpcServer({
      listen: '127.0.0.1:0',
      services: [],
      routes: () => {},
      telemetry,
      http: (req, res) => {
        if (req.url !== '/large' && req.url !== '/small') return false;
        res.on('close', () => gone++);
        res.end(req.url === '/large' ? large : large.subarray(0, 100_000));
        return true;
      },
      ...options,
    });
  }

  afterEach(async () => {
    for (const socket of sockets) socket.destroy();
    sockets = [];
    await server.stop(0);
  });

  function dial(): Socket {
    const socket = net.connect(server.port, '127.0.0.1');
    socket.on('error', () => {});
    sockets.push(socket);
    return socket;
  }

  const cuts = async (): Promise<string> =>
    (await telemetry.metrics.getMetricsAsJSON()).map((metric) => metric.name).includes('stator_rpc_slow_readers_total')
      ? String((await telemetry.metrics.getSingleMetric('stator_rpc_slow_readers_total')?.get())?.values[0]?.value)
      : 'none';

  it('that read nothing of a whole answer are cut over HTTP/1.1', async () => {
    await start({ slowReaderMs: 100 });
    const socket = dial();
    socket.pause();
    socket.write('GET /large HTTP/1.1\r\nHost: x\r\n\r\n');
    await until(() => gone === 1, 'the answer is given up');
    expect(await cuts()).to.equal('1');
  });

  it('that never open the window of a stream are cut, although their connection lives', async () => {
    await start({ slowReaderMs: 100, keepaliveMs: 10 });
    const session = http2.connect(`http://${server.address}`, { settings: { initialWindowSize: 0 } });
    const stream = session.request({ ':path': '/small' });
    stream.on('error', () => {});
    await new Promise((resolve) => stream.once('close', resolve));
    await until(() => gone === 1, 'the answer is given up');
    const other = session.request({ ':path': '/live' });
    const [headers] = await once(other, 'response');
    expect(headers[':status'], 'other streams of the connection').to.equal(200);
    session.destroy();
  });

  it('that leave calls open without their message lose them', async () => {
    await start({
      services: [EngineService],
      routes: (router) => router.service(EngineService, { abort: () => ({ aborted: 1 }) }),
      messageTimeoutMs: 100,
      maxStreams: 5,
    });
    const session = http2.connect(`http://${server.address}`);
    const call = (): http2.ClientHttp2Stream => {
      const headers = { 'content-type': 'application/grpc+proto', te: 'trailers' };
      const path = '/stator.engine.v1.EngineService/Abort';
      const stream = session.request({ ':method': 'POST', ':path': path, ...headers });
      stream.on('error', () => {});
      return stream.resume();
    };
    const open = call();
    open.write(Buffer.of(0, 0, 0, 0, 9));
    const closed = new Promise((resolve) => open.once('close', resolve));
    const whole = call();
    whole.end(Buffer.alloc(5));
    await new Promise((resolve) => whole.once('close', resolve));
    expect(session.remoteSettings.maxConcurrentStreams).to.equal(5);
    await closed;
    session.close();
  });

  it('that read in pieces get everything', async () => {
    await start({ slowReaderMs: 10_000 });
    const { body } = await fetch(`http://${server.address}/large`);
    let bytes = 0;
    for await (const chunk of body ?? []) bytes += (chunk as Uint8Array).length;
    expect(bytes).to.equal(large.length);
    const session = http2.connect(`http://${server.address}`);
    const stream = session.request({ ':path': '/large' });
    bytes = 0;
    for await (const chunk of stream) bytes += (chunk as Buffer).length;
    expect(bytes).to.equal(large.length);
    session.close();
    expect(await cuts()).to.equal('0');
  });

  it('take no more connections than they may, and may again when they leave', async () => {
    await start({ maxConnections: 3, maxConnectionsPerAddress: 2 });
    const kept = [dial(), dial()];
    await Promise.all(kept.map((socket) => once(socket, 'connect')));
    const asks = async (): Promise<boolean> =>
      (await fetch(`http://${server.address}/live`).catch(() => null)) !== null;
    expect(await asks()).to.equal(false);
    kept[0]?.destroy();
    let served = false;
    while (!served) served = await asks();
    const refused = await telemetry.metrics.getSingleMetric('stator_rpc_connections_refused_total')?.get();
    expect(refused?.values.every(({ labels }) => labels['limit'] === 'address')).to.equal(true);
  });

  describe('over TLS', () => {
    if (!opensslFound()) {
      it('needs the openssl command for its certificates');
      return;
    }
    let certificates: Certificates;

    beforeEach(() => {
      certificates = new Certificates();
    });

    afterEach(() => certificates.remove());

    it('that begin no handshake, or no request, are dropped', async () => {
      await start({ tls: certificates.issue('server'), headersTimeoutMs: 100, keepaliveMs: longMs });
      const silent = dial();
      const slow = tls.connect({ port: server.port, host: '127.0.0.1', rejectUnauthorized: false });
      sockets.push(slow);
      slow.on('error', () => {});
      slow.write('GET /live HTTP/1.1\r\nHost: x\r\nX-Sl');
      await Promise.all([silent, slow].map((socket) => closed(socket.resume())));
    });

    it('count before their handshake', async () => {
      await start({ tls: certificates.issue('server'), maxConnections: 1 });
      await once(dial(), 'connect');
      const second = dial();
      await closed(second.resume());
    });
  });
});
