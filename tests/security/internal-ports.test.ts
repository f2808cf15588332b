import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import http2 from 'node:http2';
import { connect } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import type { DescService } from '@bufbuild/protobuf';
import { Code } from '@connectrpc/connect';
import { expect } from 'chai';
import { freePort } from '#cli/free-port.test-support.ts';
import { ServerReflection } from '#gen/grpc/reflection/v1/reflection_pb.ts';
import { EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import { InferenceService } from '#gen/stator/inference/v1/inference_pb.ts';
import { KvBlockService, KvPeerService } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { KvIndexService, RouterService } from '#gen/stator/router/v1/router_pb.ts';
import { TokenizerService } from '#gen/stator/tokenizer/v1/tokenizer_pb.ts';
import { type Cluster, startCluster } from '../support/cluster.ts';
import { sendRaw } from '../support/http.ts';
import { listeningSockets } from '../support/listening.ts';
import { findNixl } from '../support/nixl.ts';
import { StatorProcess } from '../support/stator-process.ts';
import { until } from '../support/until.ts';

const token = 'the-internal-token-of-this-test';
const services: readonly DescService[] = [
  EngineService,
  RouterService,
  KvIndexService,
  TokenizerService,
  KvBlockService,
  KvPeerService,
  ServerReflection,
];

const oddRequestLines = [
  'GET //',
  'GET ///etc/passwd',
  'GET http://',
  'GET http://[',
  'GET *',
  'GET /%',
  'GET /%00',
  'GET /a\\b?%ff#x',
  'GET ?',
  'OPTIONS *',
  'CONNECT example.org:80',
  'PROPFIND /workers',
  `GET /${'a/'.repeat(4000)}`,
];

/** What a listening socket turned out to be. */
interface Found {
  readonly who: string;
  readonly port: number;
  readonly speaks: 'rpc' | 'zmq' | 'transfer';
  /** RPCs that asked for the token. */
  readonly guarded: number;
}

describe('ports behind the gateway', function () {
  this.timeout(180_000);
  let cluster: Cluster;
  let kvbm: StatorProcess;
  let slabs: string;
  const processes = (): { who: string; pid: number }[] => [
    ...cluster.members.flatMap(({ role, pid }) => (pid === undefined ? [] : [{ who: role, pid }])),
    { who: 'kvbm', pid: kvbm.pid },
  ];

  before(async function () {
    if (process.platform !== 'linux') this.skip();
    const model = {
      model: 'm',
      kvBlockBytes: 1024,
      stepMs: 0,
      handoffBackends: findNixl() === undefined ? 'tcp,shm' : 'tcp,shm,nixl',
    };
    const zmqKvEvents = `tcp://127.0.0.1:${await freePort()}`;
    cluster = await startCluster({
      separateProcesses: true,
      common: { internalToken: token },
      workers: [
        { engine: 'mocker', settings: { ...model, role: 'prefill', zmqKvEvents } },
        { engine: 'mocker', settings: { ...model, role: 'decode' } },
      ],
    });
    slabs = await mkdtemp(path.join(os.tmpdir(), 'stator-ports-'));
    const where = ['--discovery', cluster.discoveryUrl, '--namespace', cluster.namespace, '--listen', '127.0.0.1:0'];
    const memory = [
      '--slab-dir',
      slabs,
      '--host-mib',
      '4',
      '--peer-transfer',
      findNixl() === undefined ? 'tcp' : 'auto',
    ];
    kvbm = new StatorProcess(['kvbm', ...where, ...memory, '--internal-token', token]);
    await kvbm.printed(/kvbm ready/);
    // Sockets of handoffs are opened with the first one.
    const body = { model: 'm', messages: [{ role: 'user', content: 'word '.repeat(200) }], max_tokens: 4 };
    const headers = { 'content-type': 'application/json' };
    await until('an answer', async () => {
      const answer = await fetch(`${cluster.url}/v1/chat/completions`, {
        method: 'POST',
        headers,
        body: JSON.stringify(body),
      });
      return answer.ok;
    });
  });

  after(async () => {
    await kvbm?.[Symbol.asyncDispose]();
    await cluster?.stop();
    if (slabs !== undefined) await rm(slabs, { recursive: true, force: true });
  });

  it('are all on loopback, and every one refuses who does not show the token', async () => {
    const found: Found[] = [];
    const gateway = cluster.member('gateway').address;
    for (const { who, pid } of processes()) {
      const sockets = await listeningSockets(pid);
      expect(sockets, who).not.to.be.empty;
      for (const { host, port } of sockets) {
        expect(host, `${who} listens on ${host}:${port}`).to.equal('127.0.0.1');
        if (`${host}:${port}` === gateway) continue;
        found.push(await judge(who, port));
      }
    }
    const of = (who: string, speaks: Found['speaks']): number =>
      found.filter((one) => one.who === who && one.speaks === speaks).length;
    for (const [who, count] of [
      ['tokenizer', 1],
      ['router', 1],
      ['kvbm', 1],
      ['mocker', 2],
    ] as const)
      expect(of(who, 'rpc'), `RPC ports of ${who}`).to.equal(count);
    for (const { who, port, guarded } of found.filter(({ speaks }) => speaks === 'rpc'))
      expect(guarded, `guarded RPCs of ${who}:${port}`).to.be.greaterThan(1);
    expect(of('mocker', 'zmq')).to.equal(1);
    expect(of('mocker', 'transfer'), 'sockets of handoffs').to.be.at.least(1);
    expect(of('kvbm', 'transfer'), 'sockets of lent blocks').to.be.at.least(1);
  });

  it('outlive request lines that nobody sends by mistake', async () => {
    for (const { who, pid } of processes()) {
      for (const { port } of await listeningSockets(pid)) {
        for (const line of oddRequestLines) {
          const head = `${line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n`;
          await sendRaw(`127.0.0.1:${port}`, `${head}\r\n`, 2000);
          await sendRaw(`127.0.0.1:${port}`, `${head}Upgrade: websocket\r\nExpect: everything\r\n\r\n`, 2000);
        }
        await oddStreams(port);
      }
      expect(() => process.kill(pid, 0), who).not.to.throw();
    }
    for (const { role, address } of cluster.members)
      expect((await fetch(`http://${address}/live`)).status, role).to.equal(200);
  });

  it('serve the whole of the inside to nobody through the gateway', async () => {
    const session = http2.connect(cluster.url);
    for (const service of services) {
      for (const method of service.methods) {
        const status = await grpcStatus(session, `/${service.typeName}/${method.name}`);
        if (service === ServerReflection) continue;
        expect(status, `${service.typeName}/${method.name} at the gateway`).to.equal(Code.Unimplemented);
      }
    }
    session.close();
    expect(InferenceService.methods).not.to.be.empty;
  });

  it('are not opened to other machines without token or certificates', async () => {
    const commands = [['router'], ['tokenizer'], ['kvbm', '--slab-dir', path.join(slabs, 'own')], ['worker', 'mocker']];
    await Promise.all(
      commands.map(async (command) => {
        const opened = new StatorProcess([...command, '--discovery', 'memory:x', '--listen', '0.0.0.0:0']);
        expect(await opened.exited, command.join(' ')).not.to.equal(0);
        expect(opened.output, command.join(' ')).to.match(/reachable from other machines/);
      }),
    );
  });
});

/** Tries everything at a port without the token, then with a wrong one. */
async function judge(who: string, port: number): Promise<Found> {
  const url = `http://127.0.0.1:${port}`;
  const open = await fetch(`${url}/live`, { signal: AbortSignal.timeout(2000) }).catch(() => null);
  if (open === null) return { who, port, speaks: await speaksOf(who, port), guarded: 0 };
  expect(open.status, `${who} /live`).to.equal(200);
  for (const authorization of [undefined, 'Bearer wrong', `Basic ${btoa(token)}`]) {
    const headers = authorization === undefined ? {} : { headers: { authorization } };
    const metrics = await fetch(`${url}/metrics`, headers);
    expect(metrics.status, `${who} /metrics`).to.equal(401);
    expect(await metrics.text()).not.to.include('stator_');
  }
  expect((await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${token}` } })).status).to.equal(200);
  let guarded = 0;
  const session = http2.connect(url);
  for (const authorization of [undefined, 'Bearer wrong']) {
    for (const service of services) {
      for (const { name } of service.methods) {
        const status = await grpcStatus(session, `/${service.typeName}/${name}`, authorization);
        expect(status, `${who} ${service.typeName}/${name}`).to.be.oneOf([Code.Unauthenticated, Code.Unimplemented]);
        if (status === Code.Unauthenticated) guarded++;
      }
    }
  }
  session.close();
  return { who, port, speaks: 'rpc', guarded };
}

/** Requests over HTTP/2 whose pseudo headers are odd. */
async function oddStreams(port: number): Promise<void> {
  const session = http2.connect(`http://127.0.0.1:${port}`);
  session.on('error', () => {});
  session.setTimeout(2000, () => session.destroy());
  for (const headers of [
    { ':path': '//' },
    { ':path': '*', ':method': 'OPTIONS' },
    { ':path': '/live', ':authority': '' },
    { ':path': '/live', ':scheme': 'javascript' },
    { ':method': 'CONNECT', ':authority': 'example.org:80' },
  ]) {
    if (session.destroyed || session.closed) break;
    const stream = session.request(headers);
    stream.on('error', () => {});
    stream.resume().end();
    await new Promise<void>((resolve) => {
      stream.on('close', () => resolve());
      session.on('close', () => resolve());
    });
  }
  session.destroy();
}

/** Status of a call with one empty message. */
async function grpcStatus(session: http2.ClientHttp2Session, rpc: string, authorization?: string): Promise<number> {
  const stream = session.request({
    ':method': 'POST',
    ':path': rpc,
    'content-type': 'application/grpc+proto',
    te: 'trailers',
    ...(authorization !== undefined && { authorization }),
  });
  let status = Number.NaN;
  let http = 0;
  const look = (headers: http2.IncomingHttpHeaders & http2.IncomingHttpStatusHeader): void => {
    http = headers[':status'] ?? http;
    if (headers['grpc-status'] !== undefined) status = Number(headers['grpc-status']);
  };
  stream
    .on('response', look)
    .on('trailers', look)
    .on('error', () => {});
  stream.resume().end(Buffer.alloc(5));
  await once(stream, 'close');
  // What is no RPC there is an HTTP request: not found, or refused for want of the token as every path of a REST interface.
  return Number.isNaN(status) && [401, 404, 405].includes(http) ? Code.Unimplemented : status;
}

/** A socket that speaks no HTTP: it must end the connection of a stranger, or be an engine's event socket. */
function speaksOf(who: string, port: number): Promise<'zmq' | 'transfer'> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    let got = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      got = Buffer.concat([got, chunk]);
      // ZeroMQ greets first. Its sockets know no tokens, which is why they stay on loopback.
      if (got[0] !== 0xff || got.length < 10 || got[9] !== 0x7f) return;
      socket.destroy();
      resolve('zmq');
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      if (got[0] === 0xff) return;
      if (got.length === 0) resolve('transfer');
      else reject(new Error(`${who}:${port} told a stranger ${got.length} bytes`));
    });
    socket.setTimeout(20_000, () => {
      reject(new Error(`${who}:${port} keeps the connection of a stranger`));
      socket.destroy();
    });
    socket.on('connect', () => setTimeout(() => socket.write(Buffer.alloc(256, 7)), 200));
  });
}
