import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect } from 'chai';
import { type Harness, startHarness, testCard } from '#gateway/testing/harness.ts';
import { answering, ScriptedWorker } from '#gateway/testing/scripted-worker.ts';
import { type NameServer, startNameServer } from '../support/name-server.ts';

const gif = Buffer.from('R0lGODlhAQABAAAAACw=', 'base64');

/** The attacker owns evil.example and its name server, and wants what listens at 127.0.0.2. */
describe('media URLs of an attacker', function () {
  this.timeout(60_000);
  let names: NameServer;
  let host: Server;
  let asked: string[];
  let harness: Harness;
  let port: number;

  before(async () => {
    host = createServer((request, response) => {
      asked.push(`${request.socket.localAddress}${request.url}`);
      response.writeHead(200, { 'content-type': 'image/gif' }).end(gif);
    });

    host.listen(0, '127.0.0.1');
    await once(host, 'listening');
    ({ port } = host.address() as AddressInfo);
    names = await startNameServer((name, time) => {
      if (name === 'rebind.evil.example') return time === 1 ? ['127.0.0.1'] : ['127.0.0.2'];
      if (name === 'both.evil.example') return ['127.0.0.1', '127.0.0.2'];
      if (name === 'inside.evil.example') return ['127.0.0.2'];
      if (name === 'imds.evil.example') return ['169.254.169.254'];
      if (name === 'honest.example') return ['127.0.0.1'];
      return [];
    });
    harness = await startHarness({
      mediaNameServers: [names.address],
      mediaAllowedNetworks: ['127.0.0.1/32'],
      mediaPorts: [String(port)],
    });
    const card = testCard();
    if (card.capabilities !== undefined) card.capabilities.modalities = ['image'];
    harness.addWorker(1n, new ScriptedWorker(answering('ok')), card);
  });

  beforeEach(() => {
    asked = [];
  });

  after(async () => {
    await harness?.[Symbol.asyncDispose]();
    names?.stop();
    host?.close();
  });

  async function ask(url: string): Promise<string> {
    const content = [{ type: 'image_url', image_url: { url } }];
    const body = { model: 'test-model', max_tokens: 1, messages: [{ role: 'user', content }] };
    const answer = await harness.post('/v1/chat/completions', body);
    const { error } = (await answer.json()) as { error?: { message: string; details?: { reason?: string } } };
    if (error === undefined) return 'fetched';
    expect(error.message, 'tells nothing of the inside').not.to.match(/127\.|169\.|ECONN|ENOTFOUND/);
    return error.details?.reason ?? error.message;
  }

  const at = (name: string): string => `http://${name}:${port}/x.gif`;

  it('get the first answer of a name and no second one', async () => {
    expect(await ask(at('rebind.evil.example'))).to.equal('fetched');
    expect(names.asked.filter((name) => name === 'rebind.evil.example')).to.have.length(1);
    expect(asked).to.deep.equal(['127.0.0.1/x.gif']);
    // The name has moved inside meanwhile: the next request asks anew, and is refused.
    expect(await ask(at('rebind.evil.example'))).to.equal('refused_address');
    expect(asked).to.have.length(1);
  });

  it('reach nothing inside by a name', async () => {
    for (const name of ['inside', 'both', 'imds'])
      expect(await ask(at(`${name}.evil.example`)), name).to.equal('refused_address');
    expect(await ask(at('unknown.evil.example'))).to.equal('unresolved');
    expect(asked).to.be.empty;
  });

  it('go by no proxy of the environment', async () => {
    const saved = { ...process.env };
    for (const name of ['HTTP_PROXY', 'http_proxy', 'ALL_PROXY']) process.env[name] = 'http://127.0.0.1:9';
    try {
      expect(await ask(at('honest.example'))).to.equal('fetched');
    } finally {
      process.env = saved;
    }
    expect(asked).to.deep.equal(['127.0.0.1/x.gif']);
  });

  it('show in metrics why they were refused', async () => {
    await ask('http://127.0.0.2/');
    const text = await (await fetch(`${harness.url}/metrics`)).text();
    expect(text).to.match(/stator_fetch_total\{outcome="refused_url"\} \d/);
    expect(text).to.match(/stator_fetch_total\{outcome="ok"\} \d/);
  });
});
