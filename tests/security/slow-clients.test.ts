import { connect, type Socket } from 'node:net';
import { expect } from 'chai';
import { type Cluster, startCluster } from '../support/cluster.ts';
import { post } from '../support/http.ts';
import { until } from '../support/until.ts';

const CONNECTIONS = 200;

describe('clients that never finish their request', function () {
  this.timeout(60_000);
  let cluster: Cluster;
  let sockets: Socket[] = [];

  before(async () => {
    cluster = await startCluster({ workers: [{ engine: 'mocker' }] });
  });

  afterEach(() => {
    for (const socket of sockets) socket.destroy();
    sockets = [];
  });

  after(() => cluster?.stop());

  for (const [name, start] of [
    ['say nothing', ''],
    ['send half a header', 'POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Sl'],
    [
      'send half a body',
      'POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{',
    ],
    ['send half a preface', 'PRI * HTTP/2'],
  ] as const) {
    it(`that ${name} keep nobody else waiting`, async () => {
      await hold(start);
      const [model] = await cluster.listsModels(1);
      const body = { model, messages: [{ role: 'user', content: 'hello' }], max_tokens: 4 };
      const answer = await post(`${cluster.url}/v1/chat/completions`, JSON.stringify(body));
      expect(answer.status, answer.text).to.equal(200);
    });
  }

  async function hold(start: string): Promise<void> {
    const [host = '', port = ''] = cluster.member('gateway').address.split(':');
    sockets = Array.from({ length: CONNECTIONS }, () => connect(Number(port), host).on('error', () => undefined));
    for (const socket of sockets) if (start !== '') socket.write(start);
    await until('every connection stands', () => sockets.every((socket) => !socket.connecting));
  }
});
