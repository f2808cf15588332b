import { once } from 'node:events';
import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { expect } from 'chai';
import { StatorError } from '#lib/errors/errors.ts';
import { readJsonBody } from './body.ts';
import type { Exchange } from './exchange.ts';

const limitBytes = 10_000;
const document = JSON.stringify({ text: 'words '.repeat(100) });

describe('the body of a request', function () {
  this.timeout(60_000);
  let server: Server;
  let url: string;
  let timeoutMs = 10_000;

  before(async () => {
    server = createServer((request, response) => void answer(request, response));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  });

  after(() => {
    server.closeAllConnections();
    server.close();
  });

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const body = await readJsonBody({ request, response } as Exchange, limitBytes, timeoutMs);
      response.end(JSON.stringify(body));
    } catch (thrown) {
      response.end(StatorError.from(thrown).code);
    }
  }

  async function send(body: Uint8Array | string, encoding?: string): Promise<string> {
    const headers = {
      'content-type': 'application/json',
      ...(encoding !== undefined && { 'content-encoding': encoding }),
    };
    return (await fetch(url, { method: 'POST', headers, body: body as BodyInit })).text();
  }

  for (const [encoding, pack] of [
    ['gzip', gzipSync],
    ['deflate', deflateSync],
    ['br', brotliCompressSync],
    ['zstd', zstdCompressSync],
  ] as const) {
    it(`may be packed by ${encoding}, as long as it stays below the limit unpacked`, async () => {
      expect(await send(pack(document), encoding)).to.equal(document);
      const bomb = pack(Buffer.alloc(1024 ** 2, ' '));
      expect(bomb.length).to.be.lessThan(limitBytes);
      expect(await send(bomb, encoding)).to.equal('payload_too_large');
      expect(await send(pack(document).subarray(0, 20), encoding)).to.equal('invalid_argument');
      expect(await send(document, encoding)).to.equal('invalid_argument');
    });
  }

  it('is unpacked once and by what is known', async () => {
    expect(await send(gzipSync(gzipSync(document)), 'gzip, gzip')).to.equal('unsupported_media_type');
    expect(await send(gzipSync(document), 'compress')).to.equal('unsupported_media_type');
    expect(await send(document, 'identity')).to.equal(document);
  });

  it('that comes a byte now and then is not waited for', async () => {
    timeoutMs = 200;
    const request = httpRequest(url, { method: 'POST', headers: { 'content-type': 'application/json' } });
    request.on('error', () => {});
    const trickle = setInterval(() => request.write(' '), 20);
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    clearInterval(trickle);
    request.destroy();
    expect(response.headers.connection).to.equal('close');
    expect((await response.toArray()).join('')).to.equal('request_timeout');
  });
});
