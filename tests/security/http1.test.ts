import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { expect } from 'chai';
import { type Cluster, startCluster } from '../support/cluster.ts';
import { errorOf, post, sendRaw } from '../support/http.ts';

const path = '/v1/chat/completions';
/** What a smuggler wants answered in somebody else's name. */
const inner = 'GET /live?smuggled HTTP/1.1\r\nHost: x\r\n\r\n';

/** Requests whose end two readers could see at different places; the head follows the request line and Host. */
const smuggled: Readonly<Record<string, string>> = {
  'a length and chunks': `Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${inner}`,
  'chunks and a length': `Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n${inner}`,
  'two lengths': `Content-Length: 0\r\nContent-Length: ${inner.length}\r\n\r\n${inner}`,
  'a list of lengths': `Content-Length: 0, ${inner.length}\r\n\r\n${inner}`,
  'a signed length': `Content-Length: +0\r\n\r\n${inner}`,
  'a length in hexadecimal': `Content-Length: 0x0\r\n\r\n${inner}`,
  'a length beyond numbers': `Content-Length: 99999999999999999999999\r\n\r\n${inner}`,
  'an unknown coding': `Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n${inner}`,
  'chunks that are not last': `Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n${inner}`,
  'chunked twice': `Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n${inner}`,
  'a space before the colon': `Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n${inner}`,
  'a folded header': `X-A: b\r\n Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n${inner}`,
  'a bare carriage return': `X-A: b\rContent-Length: 0\r\n\r\n${inner}`,
  'a NUL in a header': `X-A: b\0c\r\nContent-Length: 0\r\n\r\n${inner}`,
  'a chunk size with a sign': `Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n${inner}`,
  'a chunk size with a suffix': `Transfer-Encoding: chunked\r\n\r\n0_0\r\n\r\n${inner}`,
  'a chunk size beyond numbers': `Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff1\r\n\r\n${inner}`,
  'a chunk without its line end': `Transfer-Encoding: chunked\r\n\r\n1\r\nxx0\r\n\r\n${inner}`,
};

const traversals = [
  '/console/../../package.json',
  '/console/..%2f..%2fpackage.json',
  '/console/%2e%2e/%2e%2e/package.json',
  '/console/....//package.json',
  '/console/..%5c..%5cpackage.json',
  '/console/%00main.js',
  '/console//etc/passwd',
  '/console/vendor/../../../package.json',
  '/console/page/main.ts',
  '/docs/../package.json',
  '/docs/..%2f..%2f..%2fetc%2fpasswd',
  '/docs/%2e%2e%2fpackage.json',
  '/docs/package.json',
  '/docs/%252e%252e/package.json',
  '/docs//etc/passwd',
];

describe('hostile requests over HTTP/1.1', function () {
  this.timeout(60_000);
  let cluster: Cluster;
  let model: string;
  let address: string;

  before(async () => {
    cluster = await startCluster({ workers: [{ engine: 'mocker' }], gateway: { bodyLimitMib: 1 } });
    model = (await cluster.listsModels(1))[0] ?? '';
    ({ address } = cluster.member('gateway'));
  });

  after(() => cluster?.stop());

  it('two honest requests on one connection: two answers', async () => {
    const request = 'GET /live HTTP/1.1\r\nHost: x\r\n\r\n';
    expect((await sendRaw(address, request + request)).match(/HTTP\/1\.1 200/g)).to.have.length(2);
  });

  for (const [name, rest] of Object.entries(smuggled))
    it(`${name}: one answer, a refusal, and the end of the connection`, async () => {
      const request = `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n${rest}`;
      const got = await sendRaw(address, request);
      expect(got.match(/HTTP\/1\.1 \d/g) ?? [], got).to.have.length.at.most(1);
      expect(got).to.match(/^HTTP\/1\.1 4\d\d /);
      expect(got).not.to.include('"live"');
    });

  it('reach no file beside the pages', async () => {
    for (const target of traversals) {
      const got = await sendRaw(address, `GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
      expect(got, target).to.match(/^HTTP\/1\.1 (400|404) /);
      expect(got, target).not.to.match(/"dependencies"|root:|import /);
    }
  });

  it('write no headers of their own', async () => {
    for (const value of ['a\r\nset-cookie: x=1', 'a\nx-evil: 1', 'a b', '"><script>', 'ä', 'x'.repeat(129)]) {
      const head = `GET /live HTTP/1.1\r\nHost: x\r\nConnection: close\r\nx-request-id: ${value}\r\n\r\n`;
      const got = await sendRaw(address, Buffer.from(head, 'latin1'));
      expect(got.toLowerCase(), value).not.to.match(/\r\n(set-cookie|x-evil):/);
      const id = /^x-request-id: (.*)\r$/im.exec(got)?.[1];
      if (id !== undefined) expect(id, value).to.match(/^[\w.:+/=@-]{1,128}$/);
    }
  });

  it('that begin a body and do not go on are told so', async () => {
    const head = `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{`;
    const impatient = await cluster.add('gateway', { bodyTimeoutSeconds: 0.5 });
    const [host = '', port = ''] = impatient.address.split(':');
    const socket = connect(Number(port), host);
    let got = '';
    socket.on('data', (chunk: Buffer) => {
      got += chunk.toString();
    });
    socket.write(head);
    await once(socket, 'close');
    expect(got).to.match(/^HTTP\/1\.1 408 /);
    expect(got).to.include('"request_timeout"');
  });

  it('nest JSON in every place that takes any, and are answered or refused', async () => {
    const nested = `${'{"a":'.repeat(5000)}1${'}'.repeat(5000)}`;
    const arrays = `${'['.repeat(50_000)}${']'.repeat(50_000)}`;
    const places: ((value: string) => string)[] = [
      (value) => `"tools":[{"type":"function","function":{"name":"f","parameters":${value}}}]`,
      (value) => `"response_format":{"type":"json_schema","json_schema":{"name":"s","schema":${value}}}`,
      (value) => `"chat_template_kwargs":${value}`,
      (value) => `"nvext":${value}`,
      (value) => `"metadata":${value}`,
      (value) => `"messages":${value}`,
      (value) => `"stop":${value}`,
      (value) => `"logit_bias":${value}`,
      (value) => `"guided_json":${value}`,
    ];
    for (const place of places) {
      for (const value of [nested, arrays]) {
        const messages = '"messages":[{"role":"user","content":"x"}]';
        const body = `{"model":"${model}","max_tokens":1,${messages},${place(value)}}`;
        const answer = await post(`${cluster.url}${path}`, body);
        expect(answer.status, `${body.slice(0, 120)}: ${answer.text.slice(0, 300)}`).to.be.oneOf([200, 400]);
        if (answer.status !== 200) expect(errorOf(answer).message.length).to.be.lessThan(2000);
      }
    }
  });

  it('that repeat keys mean the last one, in one way only', async () => {
    const bodies = [
      `{"model":"nobody","model":"${model}","messages":[{"role":"user","content":"x"}],"max_tokens":1}`,
      `{"model":"${model}","messages":[{"role":"user","content":"x"}],"max_tokens":9,"max_tokens":1}`,
    ];
    for (const body of bodies) {
      const answer = await post(`${cluster.url}${path}`, body);
      expect(answer.status, answer.text).to.equal(200);
      expect(JSON.parse(answer.text)).to.have.nested.property('usage.completion_tokens', 1);
    }
    const keys = Array.from(
      { length: 40_000 },
      (_, i) => `"${createHash('md5').update(String(i)).digest('hex').slice(0, 8)}":1`,
    );
    const many = `{"model":"${model}","messages":[{"role":"user","content":"x"}],"max_tokens":1,"logit_bias":{${keys.join()}}}`;
    expect((await post(`${cluster.url}${path}`, many)).status).to.equal(400);
    const unknown = await post(`${cluster.url}${path}`, `{${keys.join()}}`);
    expect(unknown.status).to.equal(400);
    expect(unknown.text.length, 'an answer that does not repeat them all').to.be.lessThan(10_000);
  });
});
