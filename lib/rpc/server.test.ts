import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { type Client, createClient, type Transport } from '@connectrpc/connect';
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from '@connectrpc/connect-node';
import { credentials, Client as GrpcJsClient } from '@grpc/grpc-js';
import { expect } from 'chai';
import { AbortRequestSchema, AbortResponseSchema, EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { type RpcServer, type RpcServerOptions, startRpcServer } from './server.ts';
import { EngineStub } from './testing/engine-stub.ts';
import { closed, until } from './testing/wait.ts';

describe('RpcServer', () => {
  let stub: EngineStub;
  let server: RpcServer;
  let telemetry: ReturnType<typeof quietTelemetry>;

  async function start(options: Partial<RpcServerOptions> = {}): Promise<void> {
    stub = new EngineStub();
    telemetry = quietTelemetry();
    server = await startRpcServer({
      listen: '127.0.0.1:0',
      telemetry,
      services: [EngineService],
      routes: stub.routes,
      ...options,
    });
  }

  afterEach(() => server.stop(0));

  const transports: Record<string, (baseUrl: string) => Transport> = {
    'Connect over HTTP/2': (baseUrl) => createConnectTransport({ baseUrl, httpVersion: '2' }),
    'Connect over HTTP/1.1': (baseUrl) => createConnectTransport({ baseUrl, httpVersion: '1.1' }),
    'Connect with JSON': (baseUrl) => createConnectTransport({ baseUrl, httpVersion: '1.1', useBinaryFormat: false }),
    gRPC: (baseUrl) => createGrpcTransport({ baseUrl }),
    'gRPC-Web over HTTP/1.1': (baseUrl) => createGrpcWebTransport({ baseUrl, httpVersion: '1.1' }),
    'gRPC-Web over HTTP/2': (baseUrl) => createGrpcWebTransport({ baseUrl, httpVersion: '2' }),
  };

  for (const [name, transport] of Object.entries(transports))
    it(`serves ${name} on its one port: unary, streams and typed errors`, async () => {
      await start();
      const client: Client<typeof EngineService> = createClient(EngineService, transport(`http://${server.address}`));
      expect((await client.abort({ requestId: 'four' })).aborted).to.equal(4);
      const tokens: number[] = [];
      let failure: unknown;
      try {
        for await (const { tokenIds } of client.generate({ tokenIds: [5, 6, 7], model: 'failing' }))
          tokens.push(...tokenIds);
      } catch (thrown) {
        failure = thrown;
      }
      expect(tokens).to.deep.equal([5, 6, 7]);
      expect(String(failure)).to.include('[internal] step failed');
    });

  it('serves grpc-js', async () => {
    await start();
    const client = new GrpcJsClient(server.address, credentials.createInsecure());
    const answer = await new Promise<number>((resolve, reject) =>
      client.makeUnaryRequest(
        '/stator.engine.v1.EngineService/Abort',
        (request: { requestId: string }) =>
          Buffer.from(
            toBinary(AbortRequestSchema, { $typeName: 'stator.engine.v1.AbortRequest', all: false, ...request }),
          ),
        (bytes) => fromBinary(AbortResponseSchema, bytes),
        { requestId: 'three' },
        (error, response) => (error === null ? resolve(response?.aborted ?? -1) : reject(error)),
      ),
    );
    client.close();
    expect(answer).to.equal(5);
  });

  it('serves fetch with JSON', async () => {
    await start();
    const response = await fetch(`http://${server.address}/stator.engine.v1.EngineService/Abort`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ requestId: 'ab' }),
    });
    expect(await response.json()).to.deep.equal({ aborted: 2 });
  });

  it('tells HTTP/2 from HTTP/1.1 when the first bytes come one by one', async () => {
    await start();
    const socket = net.connect(server.port, '127.0.0.1');
    for (const byte of 'GET /live HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n') {
      socket.write(byte);
      await new Promise(setImmediate);
    }
    const chunks: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    await once(socket, 'close');
    expect(Buffer.concat(chunks).toString()).to.include('{"status":"live"}');

    const preface = net.connect(server.port, '127.0.0.1');
    for (const byte of 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n') {
      preface.write(byte);
      await new Promise(setImmediate);
    }
    preface.write(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]));
    const [answer] = await once(preface, 'data');
    // The server's own SETTINGS frame: type 4 in stream 0.
    expect([...answer.subarray(3, 4), ...answer.subarray(5, 9)]).to.deep.equal([4, 0, 0, 0, 0]);
    preface.destroy();
  });

  it('answers /metrics, /health and /live over both versions of HTTP, and 404 and 405 otherwise', async () => {
    await start();
    const get = (path: string, method = 'GET'): Promise<Response> =>
      fetch(`http://${server.address}${path}`, { method });
    await get('/live');
    await createClient(EngineService, createGrpcTransport({ baseUrl: `http://${server.address}` })).abort({});
    expect(await (await get('/metrics')).text()).to.include(
      'stator_rpc_server_requests_total{method="stator.engine.v1.EngineService/Abort",code="ok"} 1',
    );
    expect((await get('/health')).status).to.equal(200);
    server.setServing(false);
    expect((await get('/health')).status).to.equal(503);
    expect((await get('/live')).status).to.equal(200);
    expect((await get('/nothing')).status).to.equal(404);
    expect((await get('/metrics', 'POST')).status).to.equal(405);
    const session = http2.connect(`http://${server.address}`);
    const [headers] = await once(session.request({ ':path': '/live' }), 'response');
    expect(headers[':status']).to.equal(200);
    session.close();
  });

  it('shows metrics only to who sends the token, where there is one', async () => {
    await start({ internalToken: 'secret' });
    const get = (path: string, authorization = ''): Promise<Response> =>
      fetch(`http://${server.address}${path}`, { headers: { authorization } });
    for (const sent of ['', 'Bearer wrong', 'secret']) expect((await get('/metrics', sent)).status, sent).to.equal(401);
    expect(await (await get('/metrics', 'Bearer secret')).text()).to.include('stator_');
    for (const path of ['/live', '/health']) expect((await get(path)).status).to.equal(200);
  });

  it('answers no page in a browser, unless it is public', async () => {
    const ask = (headers: Record<string, string>): Promise<Response> =>
      fetch(`http://${server.address}/stator.engine.v1.EngineService/Abort`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: '{}',
      });
    await start();
    expect((await ask({})).status).to.equal(200);
    for (const headers of [{ origin: 'http://evil.example' }, { origin: 'null' }, { 'sec-fetch-site': 'cross-site' }])
      expect((await ask(headers as Record<string, string>)).status).to.equal(403);
    await server.stop(0);
    await start({ requireAuth: false });
    expect((await ask({ origin: 'http://page.example' })).status).to.equal(200);
  });

  it('fails the one request whose handler throws', async () => {
    await start({
      http: () => {
        throw new Error('broken');
      },
    });
    expect((await fetch(`http://${server.address}/live`)).status).to.equal(500);
    expect((await fetch(`http://${server.address}/live`)).status).to.equal(500);
  });

  it('leaves to the default handler what its own declines', async () => {
    await start({
      http: (req, res) => {
        if (req.url !== '/own') return false;
        res.end('own');
        return true;
      },
    });
    expect(await (await fetch(`http://${server.address}/own`)).text()).to.equal('own');
    expect((await fetch(`http://${server.address}/live`)).status).to.equal(200);
  });

  it('refuses to be reachable without authentication, and says what to set', async () => {
    await start();
    const open = (options: Partial<RpcServerOptions>): Promise<RpcServer> =>
      startRpcServer({ listen: '0.0.0.0:0', telemetry, services: [], routes: () => {}, ...options });
    const failure = await open({}).catch((thrown: unknown) => thrown);
    expect(failure).to.include({ name: 'StatorError', code: 'invalid_argument', field: 'listen' });
    expect(String(failure)).to.match(/set internalToken, or tlsCert, tlsKey and tlsCa/);
    await (await open({ internalToken: 'secret' })).stop(0);
    await (await open({ requireAuth: false })).stop(0);
  });

  it('says which address cannot be bound', async () => {
    await start();
    const second = await startRpcServer({
      listen: server.address,
      telemetry,
      services: [],
      routes: () => {},
    }).catch((thrown: unknown) => thrown);
    expect(second).to.include({ code: 'invalid_argument', field: 'listen' });
    expect(String(second)).to.include(`cannot listen on ${server.address}: EADDRINUSE`);
  });

  it('survives a request without a usable authority', async () => {
    await start();
    const socket = net.connect(server.port, '127.0.0.1');
    socket.write('POST /stator.engine.v1.EngineService/Abort HTTP/1.0\r\ncontent-type: application/json\r\n\r\n');
    socket.resume();
    await once(socket, 'close');
    expect((await fetch(`http://${server.address}/live`)).status).to.equal(200);
  });

  it('drops connections that say nothing, or send their headers too slowly', async () => {
    await start({ headersTimeoutMs: 50 });
    const silent = net.connect(server.port, '127.0.0.1');
    const slow = net.connect(server.port, '127.0.0.1');
    slow.write('GET /live HTTP/1.1\r\nhost: a\r\n');
    for (const socket of [silent, slow]) socket.resume();
    await Promise.all([closed(silent), closed(slow)]);
  });

  describe('stop', () => {
    it('waits for requests in progress, takes no new ones, and lets idle connections go', async () => {
      await start();
      const agent = new http.Agent({ keepAlive: true });
      const idle = http.get({ port: server.port, path: '/live', agent });
      (await once(idle, 'response'))[0].resume();
      const transport = createGrpcTransport({ baseUrl: `http://${server.address}` });
      const cancel = new AbortController();
      const call = createClient(EngineService, transport)
        .abort({ requestId: 'wait' }, { signal: cancel.signal })
        .catch(() => 'ended');
      await until(() => stub.contexts.length === 1, 'the call arrives');
      let stopped = false;
      const stopping = server.stop(60_000).then(() => {
        stopped = true;
      });
      const refused = await fetch(`http://${server.address}/live`).catch((thrown: unknown) => thrown);
      expect(refused).to.be.instanceOf(Error);
      expect(stopped).to.equal(false);
      cancel.abort();
      expect(await call).to.equal('ended');
      await stopping;
      agent.destroy();
    });

    it('aborts what is left after the grace period', async () => {
      await start();
      const transport = createGrpcTransport({ baseUrl: `http://${server.address}` });
      const call = createClient(EngineService, transport)
        .abort({ requestId: 'wait' })
        .catch(() => 'ended');
      await until(() => stub.contexts.length === 1, 'the call arrives');
      await server.stop(20);
      expect(await call).to.equal('ended');
      await until(() => stub.aborted === 1, 'the handler is aborted');
    });
  });
});
