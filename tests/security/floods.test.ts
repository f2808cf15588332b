import http2 from 'node:http2';
import { connect, type Socket } from 'node:net';
import { gzipSync } from 'node:zlib';
import { Code } from '@connectrpc/connect';
import { expect } from 'chai';
import { type Cluster, startCluster } from '../support/cluster.ts';
import { flag, frame, frameType, getBlock, preface, tableBomb } from '../support/http2-frames.ts';

const settings = frame(frameType.settings, flag.none, 0);
const streams = 20_000;
const open = flag.endHeaders | flag.endStream;

/** How a flood ended: by the server, or because everything was taken. */
interface Outcome {
  readonly closed: boolean;
  readonly sentBytes: number;
  /** Streams that the server reset; empty where nothing was read. */
  readonly resets: readonly number[];
}

describe('floods over HTTP/2', function () {
  this.timeout(60_000);
  let cluster: Cluster;

  before(async () => {
    cluster = await startCluster({ workers: [{ engine: 'mocker' }] });
  });

  after(() => cluster?.stop());

  afterEach('everybody else is still served', async () => {
    expect((await fetch(`${cluster.url}/live`)).status).to.equal(200);
    const [model] = await cluster.listsModels(1);
    const body = { model, messages: [{ role: 'user', content: 'hello' }], max_tokens: 2 };
    const headers = { 'content-type': 'application/json' };
    const answer = await fetch(`${cluster.url}/v1/chat/completions`, {
      method: 'POST',
      headers,
      body: JSON.stringify(body),
    });
    expect(answer.status).to.equal(200);
  });

  it('of requests that are taken back at once (CVE-2023-44487) end the connection', async () => {
    const outcome = await flood(function* () {
      const reset = Buffer.of(0, 0, 0, 8);
      for (let stream = 1; stream < 2 * streams; stream += 2)
        yield Buffer.concat([
          frame(frameType.headers, open, stream, getBlock('/v1/models')),
          frame(frameType.reset, flag.none, stream, reset),
        ]);
    });
    expect(outcome.closed).to.equal(true);
  });

  it('of header blocks without an end (CVE-2024-27316) end the connection', async () => {
    const outcome = await flood(function* () {
      yield frame(frameType.headers, flag.endStream, 1, getBlock('/live'));
      const block = getBlock('/live', [['x-flood', 'x'.repeat(1000)]]).subarray(3);
      for (let i = 0; i < streams; i++) yield frame(frameType.continuation, flag.none, 1, block);
    });
    expect(outcome.closed).to.equal(true);
    expect(outcome.sentBytes).to.be.lessThan(streams * 1000);
  });

  it('of references to one large header end their requests', async () => {
    const outcome = await flood(function* () {
      const bomb = tableBomb('x-bomb', 'x'.repeat(3500), 12_000);
      yield frame(frameType.headers, open, 1, Buffer.concat([getBlock('/live'), bomb]));
      yield frame(frameType.headers, open, 3, Buffer.concat([getBlock('/live'), bomb]));
    }, true);
    expect(outcome.closed || outcome.resets.join() === '1,3', `resets ${outcome.resets.join()}`).to.equal(true);
  });

  it('of settings and pings whose answers nobody reads end the connection', async () => {
    for (const one of [settings, frame(frameType.ping, flag.none, 0, Buffer.alloc(8))]) {
      const outcome = await flood(function* () {
        const many = Buffer.concat(Array.from({ length: 1000 }, () => one));
        for (let i = 0; i < 10_000; i++) yield many;
      });
      expect(outcome.closed).to.equal(true);
    }
  });

  it('of frames that belong to nothing end the connection', async () => {
    for (const odd of [
      frame(frameType.data, flag.none, 1, Buffer.alloc(10)),
      frame(frameType.continuation, flag.none, 1, Buffer.alloc(10)),
      frame(frameType.headers, open, 2, getBlock('/live')),
      frame(frameType.settings, flag.none, 0, Buffer.alloc(5)),
      frame(frameType.headers, open, 1, Buffer.alloc(20, 0xff)),
      frame(frameType.data, flag.none, 0, Buffer.alloc(70_000)),
    ])
      expect((await flood(() => [odd], true)).closed).to.equal(true);
  });

  it('of zeros that a message unpacks to end their call', async () => {
    const session = http2.connect(cluster.url);
    const stream = session.request({
      ':method': 'POST',
      ':path': '/stator.inference.v1.InferenceService/Chat',
      'content-type': 'application/grpc+proto',
      'grpc-encoding': 'gzip',
      te: 'trailers',
    });
    const bomb = gzipSync(Buffer.alloc(100 * 1024 ** 2));
    const head = Buffer.alloc(5);
    head.writeUInt8(1, 0);
    head.writeUInt32BE(bomb.length, 1);
    stream.end(Buffer.concat([head, bomb]));
    const status = await new Promise((resolve) => {
      const look = (headers: http2.IncomingHttpHeaders): void => {
        if (headers['grpc-status'] !== undefined) resolve(Number(headers['grpc-status']));
      };
      stream
        .on('response', look)
        .on('trailers', look)
        .on('error', () => {})
        .on('close', () => resolve(Number.NaN))
        .resume();
    });
    expect(status).to.equal(Code.ResourceExhausted);
    session.close();
  });

  /** Sends what the generator gives as fast as it is taken, reading nothing unless asked; ends with the connection. */
  async function flood(frames: () => Iterable<Buffer>, reads = false): Promise<Outcome> {
    const [host = '', port = ''] = cluster.member('gateway').address.split(':');
    const socket = connect(Number(port), host);
    let closed = false;
    let isKept = false;
    const kept = new Error('the server keeps the connection');
    const got: Buffer[] = [];
    const gone = new Promise<void>((resolve) => {
      socket.on('error', (error) => {
        isKept ||= error === kept;
      });
      socket.on('close', () => {
        closed = true;
        resolve();
      });
    });
    if (reads)
      socket.on('data', (chunk: Buffer) => {
        got.push(chunk);
        if (resetsOf(Buffer.concat(got)).length === 2) socket.destroy(kept);
      });
    socket.write(Buffer.concat([preface, settings]));
    let sentBytes = 0;
    for (const bytes of frames()) {
      if (closed) break;
      sentBytes += bytes.length;
      if (!socket.write(bytes)) await Promise.race([drained(socket), gone]);
    }
    // What is closed while nothing is read shows when it is.
    socket.resume();
    const patience = setTimeout(() => socket.destroy(kept), 10_000);
    await gone;
    clearTimeout(patience);
    return { closed: !isKept, sentBytes, resets: resetsOf(Buffer.concat(got)) };
  }
});

function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once('drain', () => resolve()));
}

/** Numbers of the streams that frames of the type RST_STREAM name. */
function resetsOf(bytes: Buffer): number[] {
  const found: number[] = [];
  for (let at = 0; at + 9 <= bytes.length; at += 9 + bytes.readUIntBE(at, 3))
    if (bytes[at + 3] === frameType.reset) found.push(bytes.readUInt32BE(at + 5));
  return found;
}
