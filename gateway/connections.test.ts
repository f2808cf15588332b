import { once } from 'node:events';
import net from 'node:net';
import { expect } from 'chai';
import { FinishReason } from '#gen/stator/engine/v1/generate_pb.ts';
import { type Chunk, contentOf, type ErrorBody } from './testing/answers.ts';
import { type Harness, startHarness } from './testing/harness.ts';
import { answering, ScriptedWorker } from './testing/scripted-worker.ts';
import { until } from './testing/until.ts';

const chat = { model: 'test-model', messages: [{ role: 'user', content: 'Hi' }] };

function requestText(body: object, headers: string[] = []): string {
  const json = JSON.stringify(body);
  const lines = ['POST /v1/chat/completions HTTP/1.1', 'host: x', 'content-type: application/json', ...headers];
  return `${lines.join('\r\n')}\r\ncontent-length: ${Buffer.byteLength(json)}\r\n\r\n${json}`;
}

async function connect(gateway: Harness): Promise<net.Socket> {
  const socket = net.connect(gateway.port, '127.0.0.1');
  await once(socket, 'connect');
  return socket;
}

/** Reads until the text fulfils a condition. */
async function readUntil(socket: net.Socket, enough: (text: string) => boolean): Promise<string> {
  let text = '';
  for (;;) {
    const chunk: unknown = socket.read();
    if (chunk === null) await once(socket, 'readable');
    else text += String(chunk);
    if (enough(text)) return text;
  }
}

/** The bodies of answers in chunked framing, which must be exact. */
function dechunk(raw: string): string {
  let rest = Buffer.from(raw.slice(raw.indexOf('\r\n\r\n') + 4), 'utf8');
  let body = '';
  for (;;) {
    const line = rest.indexOf('\r\n');
    const size = Number.parseInt(rest.subarray(0, line).toString('latin1'), 16);
    if (size === 0) return body;
    body += rest.subarray(line + 2, line + 2 + size).toString('utf8');
    expect(rest.subarray(line + 2 + size, line + 4 + size).toString('latin1')).to.equal('\r\n');
    rest = rest.subarray(line + 4 + size);
  }
}

function chunksIn(body: string): Chunk[] {
  const events = body.split('\n\n').filter((event) => event.startsWith('data: {'));
  return events.map((event) => JSON.parse(event.slice(6)) as Chunk);
}

describe('gateway connections', () => {
  it('keeps a connection alive over streams, with exact chunked framing and text of any width', async () => {
    await using gateway = await startHarness();
    const worker = new ScriptedWorker();
    gateway.addWorker(1n, worker);
    const socket = await connect(gateway);
    for (const round of [0, 1, 2]) {
      socket.write(requestText({ ...chat, stream: true }));
      const sequence = await worker.sequence(round);
      for (const piece of ['plain ', 'żółć ', '漢字 ', '😀 ', '"\\\n']) {
        sequence.tokens(piece);
        await new Promise((resolve) => setImmediate(resolve));
      }
      sequence.finish();
      const raw = await readUntil(socket, (text) => text.endsWith('0\r\n\r\n'));
      expect(raw).to.match(/^HTTP\/1\.1 200 OK\r\n/);
      expect(contentOf(chunksIn(dechunk(raw)), 0)).to.equal('plain żółć 漢字 😀 "\\\n');
    }
    socket.destroy();
  });

  it('answers pipelined requests in their order', async () => {
    await using gateway = await startHarness();
    const worker = new ScriptedWorker();
    gateway.addWorker(1n, worker);
    const socket = await connect(gateway);
    socket.write(requestText({ ...chat, stream: true }) + requestText({ ...chat, stream: true }));
    const [first, second] = [await worker.sequence(0), await worker.sequence(1)];
    second.tokens('second');
    second.finish();
    await new Promise((resolve) => setImmediate(resolve));
    first.tokens('fir');
    await new Promise((resolve) => setImmediate(resolve));
    first.tokens('st');
    first.finish();
    const raw = await readUntil(socket, (text) => text.split('\r\n0\r\n\r\n').length === 3);
    const [one = '', two = ''] = raw.split('\r\n0\r\n\r\n').map((part) => `${part}\r\n0\r\n\r\n`);
    expect(contentOf(chunksIn(dechunk(one)), 0)).to.equal('first');
    expect(contentOf(chunksIn(dechunk(two)), 0)).to.equal('second');
    socket.destroy();
  });

  it('streams to HTTP/1.0 without chunked framing', async () => {
    await using gateway = await startHarness();
    gateway.addWorker(1n, new ScriptedWorker(answering('old')));
    const socket = await connect(gateway);
    socket.write(requestText({ ...chat, stream: true }).replace('HTTP/1.1', 'HTTP/1.0'));
    const raw = await readUntil(socket, (text) => text.endsWith('data: [DONE]\n\n'));
    expect(contentOf(chunksIn(raw.slice(raw.indexOf('\r\n\r\n') + 4)), 0)).to.equal('old');
    socket.destroy();
  });

  it('cancels every choice in the engine when a streaming client leaves', async () => {
    await using gateway = await startHarness();
    const worker = new ScriptedWorker();
    gateway.addWorker(1n, worker);
    const socket = await connect(gateway);
    socket.write(requestText({ ...chat, stream: true, n: 3 }));
    (await worker.sequence(2)).tokens('begun');
    await readUntil(socket, (text) => text.includes('begun'));
    socket.destroy();
    await until(() => worker.running.size === 0);
    expect(worker.sequences.every((sequence) => sequence.cancelled)).to.equal(true);
    const shows = async (line: string): Promise<boolean> =>
      (await gateway.context.telemetry.metrics.metrics()).includes(line);
    await until(() => shows('stator_gateway_disconnected_clients_total 1\n'));
    await until(() => shows('stator_gateway_inflight_requests{model="test-model"} 0'));
  });

  it('cancels when a client leaves that waits for a whole answer', async () => {
    await using gateway = await startHarness();
    const worker = new ScriptedWorker();
    gateway.addWorker(1n, worker);
    const abort = new AbortController();
    const pending = gateway.post('/v1/chat/completions', chat, { signal: abort.signal }).catch(() => null);
    const sequence = await worker.sequence(0);
    abort.abort();
    await pending;
    await until(() => sequence.cancelled);
    await until(() => gateway.context.running.size === 0);
  });

  it('cuts a client that does not read, and no other', async () => {
    await using gateway = await startHarness({ slowReaderTimeoutSeconds: 1 });
    const worker = new ScriptedWorker();
    gateway.addWorker(1n, worker);
    const slow = await connect(gateway);
    slow.pause();
    slow.write(requestText({ ...chat, stream: true, max_tokens: 4000 }));
    const slowSequence = await worker.sequence(0);
    const other = gateway.post('/v1/chat/completions', { ...chat, stream: true });
    const otherSequence = await worker.sequence(1);
    // Far more than sockets and kernel buffer, as one token of text each byte.
    const burst = Array.from({ length: 256 * 1024 }, () => 100);
    for (let round = 0; !slowSequence.cancelled; round++) {
      if (round < 64) slowSequence.tokens(burst);
      otherSequence.tokens('x');
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    otherSequence.finish(FinishReason.STOP);
    const text = await (await other).text();
    expect(text).to.include('data: [DONE]');
    expect(await gateway.context.telemetry.metrics.metrics()).to.include('stator_gateway_slow_readers_total 1');
    slow.destroy();
  });

  it('writes everything that waited to a client that begins to read again', async () => {
    await using gateway = await startHarness();
    const worker = new ScriptedWorker();
    gateway.addWorker(1n, worker);
    const slow = await connect(gateway);
    slow.pause();
    slow.write(requestText({ ...chat, stream: true }));
    const sequence = await worker.sequence(0);
    const burst = Array.from({ length: 512 * 1024 }, () => 100);
    for (let round = 0; round < 16; round++) {
      sequence.tokens(burst);
      await new Promise((resolve) => setImmediate(resolve));
    }
    sequence.finish();
    const raw = await readUntil(slow, (text) => text.endsWith('0\r\n\r\n'));
    expect(contentOf(chunksIn(dechunk(raw)), 0).length).to.equal(16 * 512 * 1024);
    slow.destroy();
  }).timeout(60_000);

  it('sends comments on a silent stream where that is set', async () => {
    await using gateway = await startHarness({ sseKeepaliveSeconds: 1 });
    const worker = new ScriptedWorker();
    gateway.addWorker(1n, worker);
    const socket = await connect(gateway);
    socket.write(requestText({ ...chat, stream: true }));
    await readUntil(socket, (text) => text.includes(': keep-alive\n\n'));
    (await worker.sequence(0)).fail('invalid_argument', 'too late for a status', false);
    const rest = await readUntil(socket, (text) => text.endsWith('0\r\n\r\n'));
    expect(rest).to.include('too late for a status').and.to.include('data: [DONE]');
    socket.destroy();
  });
});

describe('gateway HTTP edge', () => {
  let gateway: Harness;

  before(async () => {
    gateway = await startHarness({ bodyLimitMib: 0.01 });
    gateway.addWorker(1n, new ScriptedWorker(answering('ok')));
  });

  after(async () => {
    await gateway[Symbol.asyncDispose]();
  });

  async function errorOf(response: Response): Promise<ErrorBody['error']> {
    return ((await response.json()) as ErrorBody).error;
  }

  it('says which route was not found', async () => {
    const response = await fetch(`${gateway.url}/v1/nothing?x=1`, { method: 'PUT' });
    expect(response.status).to.equal(404);
    expect((await errorOf(response)).message).to.equal('Route not found: PUT /v1/nothing');
  });

  it('says which methods a route takes', async () => {
    const response = await fetch(`${gateway.url}/v1/chat/completions`);
    expect(response.status).to.equal(405);
    expect(response.headers.get('allow')).to.equal('POST');
  });

  it('refuses bodies beyond the limit, declared or not, and names it', async () => {
    const declared = await gateway.post('/v1/chat/completions', 'x'.repeat(20_000));
    expect(declared.status).to.equal(413);
    expect((await errorOf(declared)).message).to.include('body-limit-mib');
    const stream = new ReadableStream({
      pull: (controller) => controller.enqueue(new Uint8Array(4096).fill(32)),
    });
    const init: RequestInit & { duplex: 'half' } = { body: stream, duplex: 'half' };
    const undeclared = await gateway.post('/v1/chat/completions', '', init).catch(() => null);
    // The connection is closed on the client while it still writes: it may see the answer or the broken pipe.
    if (undeclared !== null) expect(undeclared.status).to.equal(413);
  });

  it('refuses other media types', async () => {
    for (const type of ['text/plain', '', 'application/xml']) {
      const response = await gateway.post('/v1/chat/completions', '{}', { headers: { 'content-type': type } });
      expect(response.status, type).to.equal(415);
    }
    for (const type of ['application/json; charset=utf-8', 'application/vnd.api+json']) {
      const response = await gateway.post('/v1/chat/completions', chat, { headers: { 'content-type': type } });
      expect(response.status, type).to.equal(200);
    }
  });

  it('says where JSON is malformed', async () => {
    const response = await gateway.post('/v1/chat/completions', '{\n  "model": oops }');
    expect(response.status).to.equal(400);
    expect((await errorOf(response)).message).to.include('position 13 (line 2, column 12)');
  });

  it('refuses invalid UTF-8', async () => {
    const body = Buffer.concat([Buffer.from('{"model":"'), Buffer.from([0xff, 0xfe]), Buffer.from('"}')]);
    const response = await gateway.post('/v1/chat/completions', '', { body });
    expect(response.status).to.equal(400);
    expect((await errorOf(response)).message).to.include('UTF-8');
  });

  it('refuses bodies that are empty or no object', async () => {
    for (const body of ['', 'null', '[]', '5', '"x"']) {
      const response = await gateway.post('/v1/chat/completions', body);
      expect(response.status, body).to.equal(400);
    }
  });

  it('answers 431 to enormous headers', async () => {
    const socket = await connect(gateway);
    socket.write(`GET /health HTTP/1.1\r\nhost: x\r\nx-big: ${'x'.repeat(100_000)}\r\n\r\n`);
    expect(await readUntil(socket, (text) => text.includes('\r\n\r\n'))).to.match(/^HTTP\/1\.1 431 /);
    socket.destroy();
  });

  it('echoes a harmless request id and replaces others', async () => {
    const given = await fetch(`${gateway.url}/live`, { headers: { 'x-request-id': 'abc-1' } });
    expect(given.headers.get('x-request-id')).to.equal('abc-1');
    const older = await fetch(`${gateway.url}/live`, { headers: { 'x-dynamo-request-id': 'abc-2' } });
    expect(older.headers.get('x-request-id')).to.equal('abc-2');
    const odd = await fetch(`${gateway.url}/live`, { headers: { 'x-request-id': '<script>' } });
    expect(odd.headers.get('x-request-id')).to.match(/^[\da-f-]{36}$/);
  });

  it('lists models, finds them by name, alias and readiness', async () => {
    const list = (await (await fetch(`${gateway.url}/v1/models`)).json()) as { data: { id: string }[] };
    expect(list.data.map((model) => model.id)).to.deep.equal(['test-model']);
    expect(((await (await fetch(`${gateway.url}/v1/models/test-alias`)).json()) as { id: string }).id).to.equal(
      'test-model',
    );
    const ready = await fetch(`${gateway.url}/v1/models/test-model/ready`);
    expect(await ready.json()).to.deep.include({ model: 'test-model', ready: true, worker_types: { aggregated: 1 } });
    expect((await fetch(`${gateway.url}/v1/models/org/none`)).status).to.equal(404);
  });

  it('shows health with its workers, and metrics without invented models', async () => {
    const health = (await (await fetch(`${gateway.url}/health`)).json()) as { status: string; models: unknown };
    expect(health.status).to.equal('healthy');
    expect(health.models).to.deep.equal([{ id: 'test-model', ready: true }]);
    await gateway.post('/v1/chat/completions', { ...chat, model: 'invented-name' });
    const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
    expect(metrics).to.not.include('invented-name');
    expect(metrics).to.match(
      /stator_gateway_requests_total\{model="unknown",endpoint="chat_completions".*error_type="not_found"\} 1/,
    );
  });

  it('serves the documentation from its own files under a strict policy', async () => {
    const page = await fetch(`${gateway.url}/docs`);
    expect(page.headers.get('content-security-policy')).to.include("default-src 'none'; script-src 'self'");
    expect(await page.text()).to.not.match(/https?:/);
    for (const asset of ['swagger-ui.css', 'swagger-ui-bundle.js', 'start.js']) {
      expect((await fetch(`${gateway.url}/docs/${asset}`)).status, asset).to.equal(200);
    }
    expect((await fetch(`${gateway.url}/docs/..%2fpackage.json`)).status).to.equal(404);
  });
});
