import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createServer as createTcpServer, type Server as TcpServer } from 'node:net';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { expect } from 'chai';
import { StatorError } from '#lib/errors/errors.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { until } from '../rpc/testing/wait.ts';
import { Fetcher, type FetcherOptions, type FetchLimits } from './fetcher.ts';
import type { NameResolver } from './resolve.ts';
import type { UrlPolicy } from './url-rules.ts';

const limits: FetchLimits = { maxBytes: 1000, timeoutMs: 20_000, maxRedirects: 2, maxRunning: 2, maxWaiting: 1 };
const policy: UrlPolicy = {
  protocols: ['http:', 'https:'],
  ports: [],
  allowedHosts: [],
  deniedHosts: [],
  allowedNetworks: ['127.0.0.1/32'],
};

describe('fetching', function () {
  this.timeout(60_000);
  let server: Server;
  let port: number;
  let answer: RequestListener;
  let asked: IncomingMessage[];
  const others: TcpServer[] = [];

  beforeEach(async () => {
    asked = [];
    server = createServer((request, response) => {
      asked.push(request);
      answer(request, response);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    port = (server.address() as AddressInfo).port;
  });

  afterEach(() => {
    server.closeAllConnections();
    server.close();
    for (const other of others.splice(0)) other.close();
  });

  function fetcher(changes: Partial<FetchLimits> = {}, more: Partial<FetcherOptions> = {}): Fetcher {
    const telemetry = quietTelemetry();
    return new Fetcher({ policy, limits: { ...limits, ...changes }, telemetry, userAgent: 'stator-test', ...more });
  }

  async function reasonOf(url: string, from = fetcher(), signal = new AbortController().signal): Promise<string> {
    try {
      const { bytes, type } = await from.fetch({ url, field: 'image', types: ['image/'], signal });
      return `${type} ${bytes.length}`;
    } catch (thrown) {
      const error = StatorError.from(thrown);
      return String(error.facts?.['reason'] ?? error.code);
    }
  }

  const image = (body: string | Buffer, headers: Record<string, string> = {}): void => {
    answer = (_request, response) => response.writeHead(200, { 'content-type': 'image/png', ...headers }).end(body);
  };
  const at = (path: string): string => `http://127.0.0.1:${port}${path}`;
  const names = (...answers: string[][]): NameResolver & { asked: number } => ({
    asked: 0,
    resolve4(this: { asked: number }) {
      return Promise.resolve(answers[Math.min(this.asked++, answers.length - 1)] ?? []);
    },
    resolve6: () => Promise.reject(new Error('no such record')),
  });

  it('brings bytes and their type, and sends nothing of the caller along', async () => {
    image('x'.repeat(1000), { 'content-type': 'IMAGE/PNG; charset=x', 'set-cookie': 'a=b' });
    expect(await reasonOf(at('/a?b=c'))).to.equal('image/png 1000');
    expect(asked[0]?.url).to.equal('/a?b=c');
    expect(Object.keys(asked[0]?.headers ?? {}).sort()).to.deep.equal([
      'accept',
      'accept-encoding',
      'connection',
      'host',
      'user-agent',
    ]);
  });

  it('asks a name once and connects to that answer, whatever the name means a moment later', async () => {
    image('x');
    const rebinding = names(['127.0.0.1'], ['127.0.0.2']);
    expect(await reasonOf(`http://media.example.org:${port}/`, fetcher({}, { resolver: rebinding }))).to.equal(
      'image/png 1',
    );
    expect(rebinding.asked).to.equal(1);
    expect(asked[0]?.headers.host).to.equal(`media.example.org:${port}`);
    const swapped = names(['8.8.8.8', '127.0.0.2']);
    expect(await reasonOf(`http://media.example.org:${port}/`, fetcher({}, { resolver: swapped }))).to.equal(
      'refused_address',
    );
    expect(await reasonOf(`http://media.example.org:${port}/`, fetcher({}, { resolver: names([]) }))).to.equal(
      'unresolved',
    );
    expect(asked).to.have.length(1);
  });

  it('checks every hop of a redirect', async () => {
    const cases: [string, string][] = [
      ['http://127.0.0.2:1/', 'refused_address'],
      ['http://[::1]/', 'refused_address'],
      ['http://169.254.169.254/latest', 'refused_address'],
      ['http://localhost/', 'refused_url'],
      ['file:///etc/passwd', 'refused_url'],
      ['http://user:pass@127.0.0.1/', 'refused_url'],
      ['//127.0.0.3/x', 'refused_address'],
      ['', 'redirects'],
      ['/again', 'redirects'],
    ];
    for (const [location, reason] of cases) {
      answer = (_request, response) => response.writeHead(302, { location }).end();
      expect(await reasonOf(at('/')), location).to.equal(reason);
    }
    const inside = names(['127.0.0.1'], ['10.0.0.1']);
    answer = (_request, response) => response.writeHead(307, { location: `http://b.example.org:${port}/` }).end();
    expect(await reasonOf(`http://a.example.org:${port}/`, fetcher({}, { resolver: inside }))).to.equal(
      'refused_address',
    );
  });

  it('follows a redirect to its end without a word of the way', async () => {
    answer = (request, response) => {
      if (request.url === '/end') response.writeHead(200, { 'content-type': 'image/gif' }).end('yes');
      else response.writeHead(301, { location: '/end', 'set-cookie': 'session=1' }).end('body');
    };
    expect(await reasonOf(at('/begin'))).to.equal('image/gif 3');
    expect(asked[1]?.headers).not.to.have.any.keys('cookie', 'referer', 'authorization');
  });

  it('takes the status, type and size that it wants', async () => {
    answer = (_request, response) => response.writeHead(404).end();
    expect(await reasonOf(at('/'))).to.equal('status');
    image('<html>', { 'content-type': 'text/html' });
    expect(await reasonOf(at('/'))).to.equal('content_type');
    image('');
    expect(await reasonOf(at('/'))).to.equal('damaged');
    image('x'.repeat(1001));
    expect(await reasonOf(at('/'))).to.equal('too_large');
    answer = endless;
    expect(await reasonOf(at('/'))).to.equal('too_large');
  });

  it('unpacks no bomb', async () => {
    const zeros = Buffer.alloc(2 * 1024 ** 2);
    image(gzipSync(Buffer.alloc(1000)), { 'content-encoding': 'gzip' });
    expect(await reasonOf(at('/'))).to.equal('image/png 1000');
    image(brotliCompressSync(zeros), { 'content-encoding': 'br' });
    expect(await reasonOf(at('/'))).to.equal('too_large');
    image(gzipSync(gzipSync(zeros)), { 'content-encoding': 'gzip, gzip' });
    expect(await reasonOf(at('/'))).to.equal('damaged');
    image(gzipSync('x'.repeat(900)).subarray(0, 15), { 'content-encoding': 'gzip' });
    expect(await reasonOf(at('/'))).to.equal('damaged');
    image('not packed', { 'content-encoding': 'br' });
    expect(await reasonOf(at('/'))).to.equal('damaged');
  });

  it('gives up on hosts that say nothing, trickle, speak nonsense or are not there', async () => {
    const short = fetcher({ timeoutMs: 300 });
    answer = () => {};
    expect(await reasonOf(at('/'), short)).to.equal('timeout');
    answer = (_request, response) => {
      response.writeHead(200, { 'content-type': 'image/png' });
      const timer = setInterval(() => response.write('x'), 20);
      response.on('close', () => clearInterval(timer));
    };
    expect(await reasonOf(at('/'), short)).to.equal('timeout');
    const silentNames: NameResolver = { resolve4: () => new Promise(() => {}), resolve6: () => new Promise(() => {}) };
    expect(await reasonOf('http://a.example.org/', fetcher({ timeoutMs: 100 }, { resolver: silentNames }))).to.equal(
      'timeout',
    );
    const odd = createTcpServer((socket) => socket.resume().end('SSH-2.0-OpenSSH_9.9\r\n')).listen(0, '127.0.0.1');
    others.push(odd);
    await once(odd, 'listening');
    const { port: oddPort } = odd.address() as AddressInfo;
    expect(await reasonOf(`http://127.0.0.1:${oddPort}/`)).to.equal('unreachable');
    odd.close();
    await once(odd, 'close');
    expect(await reasonOf(`http://127.0.0.1:${oddPort}/`)).to.equal('unreachable');
  });

  it('takes no header block beyond its limit', async () => {
    image('x', { 'x-padding': 'p'.repeat(20_000) });
    expect(await reasonOf(at('/'))).to.equal('unreachable');
  });

  it('runs so many at once and lets so many wait', async () => {
    const waiting: ServerResponse[] = [];
    answer = (_request, response) => void waiting.push(response);
    const one = fetcher();
    const results = Array.from({ length: 4 }, () => reasonOf(at('/'), one));
    expect(await Promise.race(results)).to.equal('overloaded');
    await until(() => waiting.length === 2, 'two are asked');
    answer = (_request, response) => response.writeHead(404).end();
    for (const response of waiting) response.writeHead(404).end();
    expect((await Promise.all(results)).sort()).to.deep.equal(['overloaded', 'status', 'status', 'status']);
  });

  it('stops when the caller does', async () => {
    const gone = new AbortController();
    answer = () => gone.abort(new StatorError('cancelled', 'gone'));
    expect(await reasonOf(at('/'), fetcher(), gone.signal)).to.equal('cancelled');
  });

  function endless(_request: IncomingMessage, response: ServerResponse): void {
    response.writeHead(200, { 'content-type': 'image/png' });
    const timer = setInterval(() => response.write('x'.repeat(100)), 1);
    response.on('close', () => clearInterval(timer));
  }
});
