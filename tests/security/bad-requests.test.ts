import { expect } from 'chai';
import { type Cluster, startCluster } from '../support/cluster.ts';
import { errorOf, getWithHeaderBytes, post, sendRaw } from '../support/http.ts';
import { badRequests } from './bad-requests.ts';

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

  it('a header block over the limit: 431', async () => {
    expect(await getWithHeaderBytes(`${cluster.url}/live`, 20_000)).to.equal(431);
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
