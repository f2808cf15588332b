import { once } from 'node:events';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent, request as httpsRequest } from 'node:https';
import tls from 'node:tls';
import { expect } from 'chai';
import { Certificates, opensslFound } from '#lib/rpc/testing/certificates.ts';
import { type Cluster, startCluster } from '../support/cluster.ts';
import { skip } from '../support/skip.ts';
import { until } from '../support/until.ts';

type Pair = ReturnType<Certificates['issue']>;

describe('certificates that are renewed', function () {
  this.timeout(180_000);
  let cluster: Cluster;
  let certificates: Certificates;
  let files: Pair;
  let agent: Agent;

  before(async function () {
    if (!opensslFound()) skip(this, 'no openssl command on this machine to make certificates');
    certificates = new Certificates();
    files = certificates.issue('services');
    const { ca } = certificates;
    agent = new Agent({ ...clientMaterial(certificates.issue('client')), keepAlive: false });
    cluster = await startCluster({
      separateProcesses: true,
      common: { tlsCert: files.cert, tlsKey: files.key, tlsCa: ca, tlsReloadSeconds: 0.1 },
      workers: [],
    });
    await cluster.addWorker({ engine: 'mocker', settings: { model: 'm', stepMs: 50 } });
    await until(
      'the gateway reaches the worker',
      async () => (await text('/health')).includes('"session":"ready"'),
      30_000,
    );
  });

  after(async () => {
    await cluster?.stop();
    certificates?.remove();
  });

  it('are used for new connections everywhere, while streams run on; broken ones change nothing', async () => {
    const stream = await openStream();
    const first = await serials();
    expect(new Set(first).size, 'one certificate for all').to.equal(1);

    certificates.replace(files, certificates.issue('renewed'));
    await until('every port shows the renewed certificate', async () =>
      (await serials()).every((one) => one !== first[0]),
    );
    const renewed = await serials();
    await stream.goesOn();

    writeFileSync(files.cert, '-----BEGIN CERTIFICATE-----\nbroken\n');
    await until('every process reports it', async () => (await staleGauges()).every((value) => value === 1));
    expect(await serials()).to.deep.equal(renewed);
    await stream.goesOn();

    certificates.replace(files, certificates.issue('third'));
    await until('every port shows the third certificate', async () =>
      (await serials()).every((one) => one !== renewed[0]),
    );
    await until('nothing is stale', async () => (await staleGauges()).every((value) => value === 0));
    await stream.goesOn();
    stream.end();
    expect(JSON.parse(await text('/v1/chat/completions', chat(4)))).to.have.property('usage');
    for (const { role, output } of cluster.members) expect(output(), role).not.to.match(/unhandled|uncaught/i);
  });

  it('may come of another authority: then callers of the old one are strangers', async () => {
    const other = new Certificates('other');
    const own = other.issue('services');
    copyFileSync(other.ca, certificates.ca);
    certificates.replace(files, own);
    const outsider = agent;
    agent = new Agent({
      ...clientMaterial(other.issue('client')),
      keepAlive: false,
    });
    await until('the new authority is asked for', async () => (await text('/live').catch(() => '')).includes('live'));
    agent = outsider;
    for (const { role, address } of cluster.members) {
      await until(`${role} refuses certificates of the old authority`, async () => {
        const answer = await get(address, '/live').catch(() => null);
        return answer === null;
      });
    }
    other.remove();
  });

  it('leave nobody in who speaks no TLS or shows no certificate', async () => {
    for (const { role, address } of cluster.members) {
      const [host = '', port = ''] = address.split(':');
      const bare = httpRequest({ host, port, path: '/live' });
      const refused = await new Promise((resolve) => {
        bare.on('response', () => resolve(false)).on('error', () => resolve(true));
        bare.end();
      });
      expect(refused, `${role} in clear text`).to.equal(true);
      const noCertificate = await new Promise((resolve) => {
        httpsRequest({ host, port, path: '/live', rejectUnauthorized: false, agent: false })
          .on('response', () => resolve('let in'))
          .on('error', () => resolve('refused'))
          .end();
      });
      expect(noCertificate, role).to.equal('refused');
    }
  });

  function clientMaterial({ cert, key }: Pair): { cert: Buffer; key: Buffer; ca: Buffer } {
    return { cert: readFileSync(cert), key: readFileSync(key), ca: readFileSync(certificates.ca) };
  }

  const chat = (tokens: number, stream = false): object => ({
    model: 'm',
    messages: [{ role: 'user', content: 'hello' }],
    max_tokens: tokens,
    ignore_eos: true,
    stream,
  });

  async function get(address: string, path: string, body?: object): Promise<IncomingMessage> {
    const [host, port] = address.split(':');
    const headers = { 'content-type': 'application/json' };
    const sent = httpsRequest({ host, port, path, agent, method: body === undefined ? 'GET' : 'POST', headers });
    sent.end(body === undefined ? undefined : JSON.stringify(body));
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    return response;
  }

  async function text(path: string, body?: object, address = cluster.member('gateway').address): Promise<string> {
    return Buffer.concat(await (await get(address, path, body)).toArray()).toString();
  }

  async function openStream(): Promise<{ goesOn(): Promise<void>; end(): void }> {
    // Longer than the whole test may take.
    const response = await get(cluster.member('gateway').address, '/v1/chat/completions', chat(4000, true));
    expect(response.statusCode).to.equal(200);
    let events = 0;
    let ended = false;
    response.on('data', (chunk: Buffer) => {
      events += chunk.toString().split('data: ').length - 1;
      expect(chunk.toString()).not.to.include('"error"');
    });
    response.on('close', () => {
      ended = true;
    });
    return {
      async goesOn() {
        const before = events;
        await until('more tokens come', () => events > before + 5);
        expect(ended).to.equal(false);
      },
      end: () => response.destroy(),
    };
  }

  function serials(): Promise<string[]> {
    return Promise.all(cluster.members.map(({ address }) => serialOf(address)));
  }

  async function serialOf(address: string): Promise<string> {
    const [host = '', port = ''] = address.split(':');
    const { cert, key, ca } = agent.options;
    const socket = tls.connect({ host, port: Number(port), cert, key, ca, rejectUnauthorized: false });
    await once(socket, 'secureConnect');
    const { serialNumber } = socket.getPeerCertificate();
    socket.destroy();
    return serialNumber;
  }

  function staleGauges(): Promise<number[]> {
    return Promise.all(
      cluster.members.map(async ({ address }) =>
        Number(/^stator_rpc_tls_stale (\d)/m.exec(await text('/metrics', undefined, address))?.[1]),
      ),
    );
  }
});
