import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect } from 'chai';
import { type Harness, startHarness, testCard } from '../testing/harness.ts';
import { answering, ScriptedWorker } from '../testing/scripted-worker.ts';
import { isOfModality, sniff } from './kinds.ts';

/** The smallest of pictures. */
const png = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
  'base64',
);
const wav = Buffer.concat([Buffer.from('RIFF\x24\0\0\0WAVEfmt '), Buffer.alloc(30)]);
const dataUrl = (bytes: Buffer, type = 'image/png'): string => `data:${type};base64,${bytes.toString('base64')}`;

describe('media of conversations', () => {
  let host: Server;
  let base: string;
  let asked: string[];
  let harness: Harness;
  let worker: ScriptedWorker;

  before(async () => {
    host = createServer((request, response) => {
      asked.push(request.url ?? '');
      if (request.url === '/away') response.writeHead(302, { location: 'http://169.254.169.254/latest/meta-data/' });
      else if (request.url === '/page.png') response.writeHead(200, { 'content-type': 'image/png' }).write('<html>');
      else response.writeHead(200, { 'content-type': 'image/png' }).write(png);
      response.end();
    });
    host.listen(0, '127.0.0.1');
    await once(host, 'listening');
    base = `http://127.0.0.1:${(host.address() as AddressInfo).port}`;
  });

  after(() => host.close());

  beforeEach(async () => {
    asked = [];
    await start();
  });

  afterEach(async () => {
    await harness[Symbol.asyncDispose]();
  });

  async function start(config: Parameters<typeof startHarness>[0] = {}): Promise<void> {
    harness = await startHarness({
      mediaAllowedNetworks: ['127.0.0.1/32'],
      mediaPorts: [String((host.address() as AddressInfo).port)],
      mediaMaxMib: 0.01,
      mediaRequestMib: 0.015,
      mediaPerRequest: 3,
      ...config,
    });
    worker = new ScriptedWorker(answering('ok'));
    const card = testCard();
    if (card.capabilities !== undefined) card.capabilities.modalities = ['image', 'audio'];
    harness.addWorker(1n, worker, card);
  }

  async function restart(config: Parameters<typeof startHarness>[0]): Promise<void> {
    await harness[Symbol.asyncDispose]();
    await start(config);
  }

  const image = (url: string): object => ({ type: 'image_url', image_url: { url } });

  async function ask(...parts: object[]): Promise<{ status: number; error: string; param: string; reason: string }> {
    const content = [...parts, { type: 'text', text: 'what is this?' }];
    const body = { model: 'test-model', max_tokens: 2, messages: [{ role: 'user', content }] };
    const answer = await harness.post('/v1/chat/completions', body);
    const { error = {} } = (await answer.json()) as { error?: Record<string, unknown> };
    const details = error['details'] as Record<string, unknown> | undefined;
    const { code = '', param = '' } = error;
    return {
      status: answer.status,
      error: String(code),
      param: String(param),
      reason: String(details?.['reason'] ?? ''),
    };
  }

  const sentMedia = (): unknown[] =>
    worker.sequences
      .at(-1)
      ?.request.media.map(({ media }) => [
        media?.modality,
        media?.mimeType,
        Buffer.from((media?.source.value ?? '') as Uint8Array),
      ]) ?? [];

  it('reach the engine as bytes, quoted or fetched', async () => {
    expect(await ask(image(dataUrl(png)), image(`${base}/a.png?x=y`))).to.include({ status: 200 });
    expect(asked).to.deep.equal(['/a.png?x=y']);
    expect(sentMedia()).to.deep.equal([
      ['image', 'image/png', png],
      ['image', 'image/png', png],
    ]);
    const sound = { type: 'input_audio', input_audio: { data: wav.toString('base64'), format: 'wav' } };
    expect(await ask(sound)).to.include({ status: 200 });
    expect(sentMedia()).to.deep.equal([['audio', 'audio/wave', wav]]);
  });

  it('are fetched from nothing inside, also not by a redirect', async () => {
    for (const [url, reason] of [
      ['http://169.254.169.254/latest/meta-data/', 'refused_url'],
      ['http://localhost/', 'refused_url'],
      ['file:///etc/passwd', 'refused_url'],
      [`${base}/away`, 'refused_url'],
      ['gopher://127.0.0.1/', 'refused_url'],
    ] as const)
      expect(await ask(image(url)), url).to.include({
        status: 400,
        error: 'invalid_argument',
        param: 'messages[0].content[0]',
        reason,
      });
    expect(worker.sequences).to.be.empty;
  });

  it('are what their part says, whatever their host says', async () => {
    const field = { status: 400, param: 'messages[0].content[0]' };
    expect(await ask(image(`${base}/page.png`))).to.include(field);
    expect(await ask(image(dataUrl(wav)))).to.include(field);
    expect(await ask(image(dataUrl(Buffer.from('<svg onload="x"/>'), 'image/svg+xml')))).to.include(field);
    for (const url of ['data:', 'data:image/png,abc', 'data:image/png;base64,', 'data:image/png;base64,????', 'x'])
      expect(await ask(image(url)), url).to.include(field);
  });

  it('have a largest size, one by one and together, and a largest number', async () => {
    const padded = (bytes: number): string => dataUrl(Buffer.concat([png, Buffer.alloc(bytes)]));
    expect(await ask(image(padded(11_000)))).to.include({ status: 413, param: 'messages[0].content[0]' });
    expect(await ask(image(padded(9000)), image(padded(9000)))).to.include({ status: 413 });
    expect(await ask(...Array.from({ length: 4 }, () => image(dataUrl(png))))).to.include({
      status: 400,
      param: 'messages',
    });
    expect(worker.sequences).to.be.empty;
  });

  it('are not fetched where settings say so, nor for models that read none', async () => {
    await restart({ mediaUrls: 'none' });
    expect(await ask(image(`${base}/a.png`))).to.include({ status: 400, error: 'unsupported' });
    expect(await ask(image(dataUrl(png)))).to.include({ status: 200 });
    await restart({ mediaAllowedHosts: ['media.example.org'] });
    expect(await ask(image(`${base}/a.png`))).to.include({ status: 400, reason: 'refused_url' });
    const video = { type: 'video_url', video_url: { url: `${base}/a.mp4` } };
    expect(await ask(video)).to.include({ status: 400, error: 'unsupported' });
    expect(asked).to.be.empty;
  });

  it('are told apart by their first bytes', () => {
    expect(sniff(Buffer.from('GIF89a…'))).to.equal('image/gif');
    expect(sniff(Buffer.from([0xff, 0xd8, 0xff, 0xe0]))).to.equal('image/jpeg');
    expect(sniff(Buffer.from('RIFF\0\0\0\0WEBPVP8 '))).to.equal('image/webp');
    expect(sniff(Buffer.from('\0\0\0\x18ftypmp42'))).to.equal('video/mp4');
    expect(sniff(Buffer.from('%PDF-1.7'))).to.equal(null);
    expect(sniff(new Uint8Array())).to.equal(null);
    expect(isOfModality('video/mp4', 'audio')).to.equal(true);
    expect(isOfModality('video/mp4', 'image')).to.equal(false);
  });
});
