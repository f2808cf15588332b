import { expect } from 'chai';
import { type Cluster, startCluster } from '../support/cluster.ts';
import { errorOf, getWithHeaderBytes, post, sendRaw } from '../support/http.ts';

interface BadRequest {
  readonly name: string;
  readonly path?: string;
  /** The body as it is, or changes to a good chat request. */
  readonly body?: string | Uint8Array;
  readonly change?: Readonly<Record<string, unknown>>;
  readonly headers?: Record<string, string>;
  readonly status: number;
  readonly param?: string | null;
  readonly says: RegExp;
}

const deep = `${'['.repeat(20_000)}${']'.repeat(20_000)}`;

const badRequests: readonly BadRequest[] = [
  { name: 'an empty body', body: '', status: 400, says: /empty/ },
  { name: 'a body cut short', body: '{"model": "m", "messages": [', status: 400, says: /not valid JSON.*line 1/ },
  { name: 'text after the JSON', body: '{} {}', status: 400, says: /not valid JSON/ },
  { name: 'single quotes', body: "{'model': 'm'}", status: 400, says: /not valid JSON/ },
  { name: 'a number as body', body: '7', status: 400, says: /object/ },
  { name: 'an array as body', body: '[]', status: 400, says: /object/ },
  { name: 'null as body', body: 'null', status: 400, says: /object/ },
  { name: 'twenty thousand nested arrays', body: deep, status: 400, says: /object|JSON/ },
  {
    name: 'invalid UTF-8',
    body: Uint8Array.of(0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d),
    status: 400,
    says: /UTF-8/,
  },
  { name: 'a NUL byte', body: '{"model": "m\u0000"', status: 400, says: /not valid JSON/ },
  {
    name: 'another media type',
    body: '{}',
    headers: { 'content-type': 'text/plain' },
    status: 415,
    says: /Content-Type/,
  },
  {
    name: 'a compressed body',
    body: '{}',
    headers: { 'content-encoding': 'gzip' },
    status: 415,
    says: /Content-Encoding/,
  },
  { name: 'a body over the limit', body: `{"model": "${'m'.repeat(1_200_000)}"}`, status: 413, says: /limit of 1 MiB/ },
  { name: 'no model', change: { model: undefined }, status: 400, param: 'model', says: /model/ },
  { name: 'a number as model', change: { model: 7 }, status: 400, param: 'model', says: /string/ },
  { name: 'an unknown model', change: { model: 'no-such-model' }, status: 404, says: /no-such-model/ },
  { name: 'no messages', change: { messages: undefined }, status: 400, param: 'messages', says: /messages/ },
  { name: 'an empty list of messages', change: { messages: [] }, status: 400, param: 'messages', says: /messages/ },
  { name: 'messages as text', change: { messages: 'hello' }, status: 400, param: 'messages', says: /array/ },
  { name: 'null as message', change: { messages: [null] }, status: 400, param: 'messages[0]', says: /messages\[0\]/ },
  {
    name: 'an unknown role',
    change: { messages: [{ role: 'king', content: 'x' }] },
    status: 400,
    param: 'messages[0].role',
    says: /role/,
  },
  {
    name: 'a number as content',
    change: { messages: [{ role: 'user', content: 7 }] },
    status: 400,
    param: 'messages[0].content',
    says: /content/,
  },
  { name: 'a temperature of 99', change: { temperature: 99 }, status: 400, param: 'temperature', says: /2/ },
  { name: 'a negative temperature', change: { temperature: -1 }, status: 400, param: 'temperature', says: /0/ },
  { name: 'text as temperature', change: { temperature: 'hot' }, status: 400, param: 'temperature', says: /number/ },
  {
    name: 'a temperature beyond doubles',
    body: '{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":1e999}',
    status: 400,
    param: 'temperature',
    says: /temperature/,
  },
  { name: 'a top_p of 2', change: { top_p: 2 }, status: 400, param: 'top_p', says: /1/ },
  { name: 'no tokens', change: { max_tokens: 0 }, status: 400, param: 'max_tokens', says: /1/ },
  { name: 'minus one token', change: { max_tokens: -1 }, status: 400, param: 'max_tokens', says: /1/ },
  { name: 'half a token', change: { max_tokens: 1.5 }, status: 400, param: 'max_tokens', says: /integer|whole/i },
  {
    name: 'more tokens than numbers',
    change: { max_tokens: 1e300 },
    status: 400,
    param: 'max_tokens',
    says: /max_tokens/,
  },
  { name: 'no choices', change: { n: 0 }, status: 400, param: 'n', says: /1/ },
  { name: 'a million choices', change: { n: 1_000_000 }, status: 400, param: 'n', says: /128/ },
  {
    name: 'thirty-three stop strings',
    change: { stop: Array(33).fill('x') },
    status: 400,
    param: 'stop',
    says: /stop/,
  },
  { name: 'an empty stop string', change: { stop: '' }, status: 400, param: 'stop', says: /stop/ },
  { name: 'a bias of 1000', change: { logit_bias: { 5: 1000 } }, status: 400, param: 'logit_bias.5', says: /100/ },
  { name: 'a bias of a word', change: { logit_bias: { word: 1 } }, status: 400, says: /logit_bias/ },
  { name: 'stream as text', change: { stream: 'yes' }, status: 400, param: 'stream', says: /boolean/ },
  {
    name: 'stream options without stream',
    change: { stream_options: { include_usage: true } },
    status: 400,
    param: 'stream_options',
    says: /stream/,
  },
  { name: 'a field that no API has', change: { temprature: 1 }, status: 400, param: 'temprature', says: /temprature/ },
  {
    name: '__proto__',
    body: '{"__proto__": {"polluted": true}, "model": "m", "messages": [{"role": "user", "content": "x"}]}',
    status: 400,
    says: /__proto__|model/,
  },
  {
    name: 'top_logprobs without logprobs',
    change: { top_logprobs: 3 },
    status: 400,
    param: 'top_logprobs',
    says: /logprobs/,
  },
  {
    name: 'a prompt beyond the context',
    change: { messages: [{ role: 'user', content: 'word '.repeat(200_000) }] },
    status: 400,
    says: /context|tokens/,
  },
  {
    name: 'embeddings of nothing',
    path: '/v1/embeddings',
    body: '{"model": "m", "input": []}',
    status: 400,
    param: 'input',
    says: /input/,
  },
  { name: 'an unknown path', path: '/v1/nothing', body: '{}', status: 404, says: /\/v1\/nothing/ },
  { name: 'a path with a bad escape', path: '/v1/%ff', body: '{}', status: 404, says: /Route not found/ },
  { name: 'POST where GET belongs', path: '/v1/models', body: '{}', status: 405, says: /GET/ },
];

describe('bad requests', function () {
  this.timeout(60_000);
  let cluster: Cluster;
  let model: string;

  before(async () => {
    const limits = { bodyLimitMib: 1 };
    cluster = await startCluster({ workers: [{ engine: 'mocker' }], gateway: limits });
    model = (await cluster.listsModels(1))[0] ?? '';
  });

  after(() => cluster?.stop());

  for (const { name, path = '/v1/chat/completions', body, change, headers, status, param, says } of badRequests) {
    it(`${name}: ${status}`, async () => {
      const good = { model, messages: [{ role: 'user', content: 'hello' }], max_tokens: 4 };
      const sent = body ?? JSON.stringify({ ...good, ...change });
      const answer = await post(`${cluster.url}${path}`, sent, headers);
      expect(answer.status, answer.text).to.equal(status);
      const error = errorOf(answer);
      expect(error.message).to.match(says);
      if (param !== undefined) expect(error.param).to.equal(param);
    });
  }

  it('a good request still works after all of them', async () => {
    const good = { model, messages: [{ role: 'user', content: 'hello' }], max_tokens: 4 };
    const answer = await post(`${cluster.url}/v1/chat/completions`, JSON.stringify(good));
    expect(answer.status, answer.text).to.equal(200);
  });

  it('a header block of 100 kB: 431', async () => {
    expect(await getWithHeaderBytes(`${cluster.url}/live`, 100_000)).to.equal(431);
  });

  it('bytes that are no HTTP: the connection closes, the gateway lives', async () => {
    const { address } = cluster.member('gateway');
    for (const bytes of [
      '\x16\x03\x01\x02\x00\x01\x00',
      'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n garbage',
      'GET\r\n\r\n',
      '\0\0\0\0',
    ]) {
      const got = await sendRaw(address, bytes);
      expect(got).not.to.match(/^HTTP\/1\.1 (2|5)/);
    }
    expect((await fetch(`${cluster.url}/live`)).status).to.equal(200);
  });

  it('a request smuggled by two lengths: refused', async () => {
    const head = `POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n`;
    const both = `${head}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /live HTTP/1.1\r\nHost: x\r\n\r\n`;
    const got = await sendRaw(cluster.member('gateway').address, both);
    expect(got).to.match(/^HTTP\/1\.1 400/);
  });
});
