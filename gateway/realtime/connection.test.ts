import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { realtimeWorld } from '../testing/realtime.ts';
import { answering } from '../testing/scripted-worker.ts';
import { until } from '../testing/until.ts';

const sha256 = (text: string): string => `sha256:${createHash('sha256').update(text).digest('hex')}`;
const textMessage = { type: 'message', role: 'user', content: [{ type: 'input_text', text: 'Hi' }] };

describe('realtime connections', () => {
  describe('take no nonsense', () => {
    it('and say what is wrong with an event, naming its field', async () => {
      await using world = await realtimeWorld();
      const client = await world.connect();
      const item = (changes: object): object => ({
        type: 'conversation.item.create',
        event_id: 'e',
        item: { ...textMessage, ...changes },
      });
      const cases: readonly (readonly [string, string | null, object | string])[] = [
        ['invalid_argument', null, '{"type":'],
        ['invalid_argument', null, '[]'],
        ['invalid_argument', 'type', {}],
        ['invalid_argument', 'type', { type: 'session.destroy' }],
        ['invalid_argument', 'session.colour', { type: 'session.update', session: { colour: 1 } }],
        ['invalid_argument', 'session.temperature', { type: 'session.update', session: { temperature: 3 } }],
        ['model_not_found', 'model', { type: 'session.update', session: { model: 'nope' } }],
        ['invalid_argument', 'item.role', item({ role: 'robot' })],
        ['invalid_argument', 'item.content', item({ content: 'Hi' })],
        ['not_found', 'previous_item_id', { ...item({}), previous_item_id: 'gone' }],
        ['invalid_argument', 'response', { type: 'response.create' }],
        ['response_cancel_not_active', 'response_id', { type: 'response.cancel', response_id: 'resp_1' }],
      ];
      for (const [index, [code, param, event]] of cases.entries()) {
        client.send(event);
        expect(await client.error(index), JSON.stringify(event)).to.include({ code, param });
      }
      client.send(item({}));
      await client.event('conversation.item.done');
      expect(world.worker.sequences).to.deep.equal([]);
    });

    it('nor speech, in whatever form it is asked for', async () => {
      await using world = await realtimeWorld();
      const client = await world.connect();
      const cases: readonly (readonly [string, object])[] = [
        ['type', { type: 'input_audio_buffer.append', audio: 'AAAA' }],
        ['type', { type: 'input_audio_buffer.commit' }],
        ['type', { type: 'output_audio_buffer.clear' }],
        ['type', { type: 'conversation.item.truncate', item_id: 'a', content_index: 0, audio_end_ms: 1 }],
        ['session.output_modalities', { type: 'session.update', session: { output_modalities: ['audio'] } }],
        ['session.modalities', { type: 'session.update', session: { modalities: ['text', 'audio'] } }],
        ['session.audio', { type: 'session.update', session: { audio: { output: { voice: 'marin' } } } }],
        ['session.voice', { type: 'session.update', session: { voice: 'alloy' } }],
        ['session.type', { type: 'session.update', session: { type: 'transcription' } }],
        ['response.output_modalities', { type: 'response.create', response: { output_modalities: ['audio'] } }],
        [
          'item.content[0]',
          {
            type: 'conversation.item.create',
            item: { type: 'message', role: 'user', content: [{ type: 'input_audio', audio: 'AAAA' }] },
          },
        ],
        [
          'response.input[0].content[0]',
          {
            type: 'response.create',
            response: { input: [{ type: 'message', role: 'user', content: [{ type: 'input_audio', audio: 'A' }] }] },
          },
        ],
      ];
      for (const [index, [param, event]] of cases.entries()) {
        client.send(event);
        expect(await client.error(index), JSON.stringify(event)).to.include({ code: 'unsupported', param });
      }
      // What asks for nothing is no wish for speech.
      const session = {
        type: 'realtime',
        audio: { input: { turn_detection: null } },
        turn_detection: null,
        tracing: null,
      };
      client.send({ type: 'session.update', session });
      await client.event('session.updated');
    });

    it('nor binary messages, nor ones that are too large', async () => {
      await using world = await realtimeWorld({ realtimeMaxMessageKib: 1 });
      const binary = await world.connect();
      binary.socket.send(Buffer.from('{}'));
      expect((await binary.closed()).code).to.equal(1003);
      const large = await world.connect();
      large.send(' '.repeat(1025));
      expect((await large.closed()).code).to.equal(1009);
      const metrics = await world.gateway.context.telemetry.metrics.metrics();
      expect(metrics).to.include('stator_gateway_realtime_closed_total{reason="binary"} 1');
      await until(async () =>
        (await world.gateway.context.telemetry.metrics.metrics()).includes('stator_gateway_realtime_connections 0'),
      );
    });
  });

  describe('are bounded', () => {
    it('in the items and the bytes of a conversation', async () => {
      await using world = await realtimeWorld({ realtimeMaxItems: 2, realtimeMaxConversationKib: 1 });
      const client = await world.connect();
      const item = { ...textMessage, content: [{ type: 'input_text', text: 'x'.repeat(1024) }] };
      client.send({ type: 'conversation.item.create', item });
      expect(await client.error()).to.include({ code: 'payload_too_large', param: 'item' });
      for (let count = 0; count < 3; count++) client.say('Hi');
      expect((await client.error(1))['message']).to.match(/has 2 items already/);
      expect(client.of('conversation.item.added')).to.have.length(2);
    });

    it('in number, and there is room again when one ends', async () => {
      await using world = await realtimeWorld({ realtimeConnections: 1 });
      const first = await world.connect();
      expect((await world.connect()).refused).to.equal(529);
      first.socket.close();
      await first.closed();
      await until(async () => (await world.connect()).refused === 0);
    });

    it('in the time that nothing happens, and in all', async () => {
      await using world = await realtimeWorld({ realtimeIdleSeconds: 0.05 });
      const idle = await world.connect();
      expect((await idle.closed()).code).to.equal(1008);
      expect(await idle.error()).to.include({ code: 'session_idle' });
      await using other = await realtimeWorld({ realtimeMaxSeconds: 0.05 });
      const old = await other.connect();
      expect((await old.closed()).code).to.equal(1008);
      expect(await old.error()).to.include({ code: 'session_expired' });
    });

    it('but not while a response is being made', async () => {
      await using world = await realtimeWorld({ realtimeIdleSeconds: 3, realtimeMaxSeconds: 3 });
      const client = await world.connect();
      client.say('Hi');
      client.send({ type: 'response.create' });
      const sequence = await world.worker.sequence(0);
      // Longer than both.
      await new Promise((resolve) => setTimeout(resolve, 3200));
      expect(client.close).to.equal(null);
      sequence.tokens('Hello');
      sequence.finish();
      await client.event('response.done');
      await client.closed();
    });
  });

  describe('are refused before the protocol changes', () => {
    it('where the model is unknown, the page may not call, or the gateway ends', async () => {
      await using world = await realtimeWorld({ corsOrigins: ['https://chat.example.org'] });
      expect((await world.connect({ query: '?model=nope' })).refused).to.equal(404);
      const from = (origin: string) => world.connect({ options: { headers: { origin } } });
      expect((await from('https://evil.example.org')).refused).to.equal(403);
      expect((await from('https://chat.example.org')).refused).to.equal(0);
      const plain = await fetch(`http://${world.address}/v1/realtime?model=test-model`);
      expect(plain.status).to.equal(426);
      expect(plain.headers.get('upgrade')).to.equal('websocket');
      world.gateway.drain();
      expect((await world.connect()).refused).to.equal(503);
      const metrics = await world.gateway.context.telemetry.metrics.metrics();
      expect(metrics).to.include('stator_gateway_realtime_refused_total{code="permission_denied"} 1');
    });

    it('where there is no such thing', async () => {
      await using world = await realtimeWorld({ realtime: false });
      expect((await world.connect()).refused).to.equal(404);
    });

    it('and other changes of protocol are no business of theirs', async () => {
      await using world = await realtimeWorld();
      const upgrade = { connection: 'Upgrade, HTTP2-Settings', upgrade: 'h2c', 'http2-settings': 'AAMAAABkAAQAoAAA' };
      const { request } = await import('node:http');
      const status = await new Promise<number | undefined>((resolve, reject) => {
        const asked = request(`http://${world.address}/live`, { headers: upgrade }, (response) => {
          response.resume();
          resolve(response.statusCode);
        });
        asked.on('error', reject);
        asked.end();
      });
      expect(status).to.equal(200);
    });
  });

  describe('of callers with keys', () => {
    let directory = '';
    beforeEach(() => {
      directory = mkdtempSync(join(tmpdir(), 'stator-realtime-'));
    });
    afterEach(() => rmSync(directory, { recursive: true }));

    function keysFile(...keys: readonly object[]): string {
      const file = join(directory, 'keys.yaml');
      writeFileSync(file, JSON.stringify({ keys }));
      return file;
    }

    it('take them from a header, or from a page among its subprotocols', async () => {
      const apiKeysFile = keysFile({ id: 'a', hash: sha256('right') });
      await using world = await realtimeWorld({ apiKeysFile });
      expect((await world.connect()).refused).to.equal(401);
      expect((await world.connect({ options: { headers: { authorization: 'Bearer wrong' } } })).refused).to.equal(401);
      const header = await world.connect({ options: { headers: { authorization: 'Bearer right' } } });
      await header.event('session.created');
      const page = await world.connect({ protocols: ['realtime', 'openai-insecure-api-key.right'] });
      await page.event('session.created');
      expect(page.socket.protocol).to.equal('realtime');
      const wrong = await world.connect({ protocols: ['realtime', 'openai-insecure-api-key.wrong'] });
      expect(wrong.refused).to.equal(401);
    });

    it('keep each response within their limits, and models within what they may use', async () => {
      const apiKeysFile = keysFile(
        { id: 'a', hash: sha256('few'), requests_per_minute: 1 },
        { id: 'b', hash: sha256('none'), models: ['other'] },
      );
      await using world = await realtimeWorld({ apiKeysFile }, answering('Hello'));
      const none = await world.connect({ options: { headers: { authorization: 'Bearer none' } } });
      expect(none.refused).to.equal(404);
      const client = await world.connect({ options: { headers: { authorization: 'Bearer few' } } });
      client.say('Hi');
      client.send({ type: 'response.create' });
      await client.event('response.done');
      const { rate_limits: limits } = await client.event('rate_limits.updated');
      expect(limits).to.have.nested.property('[0].name', 'requests');
      client.send({ type: 'response.create', event_id: 'again' });
      expect(await client.error()).to.include({ code: 'rate_limited', event_id: 'again' });
      expect(client.close).to.equal(null);
      expect(world.worker.sequences).to.have.length(1);
    });

    it('hear no more once their key is gone', async () => {
      const file = keysFile({ id: 'a', hash: sha256('right') });
      await using world = await realtimeWorld({ apiKeysFile: file, apiKeysReloadSeconds: 0.05 }, answering('Hello'));
      const client = await world.connect({ options: { headers: { authorization: 'Bearer right' } } });
      client.say('Hi');
      keysFile({ id: 'b', hash: sha256('another') });
      let asked = 0;
      await until(async () => {
        client.send({ type: 'response.create' });
        asked += 1;
        await until(() => client.of('response.done').length + client.of('error').length === asked);
        return client.of('error').length > 0;
      });
      expect(await client.error()).to.include({ code: 'unauthenticated' });
    });
  });

  describe('when the gateway ends', () => {
    it('end too, after the response that is being made', async () => {
      await using world = await realtimeWorld();
      const idle = await world.connect();
      const busy = await world.connect();
      await idle.event('session.created');
      busy.say('Hi');
      busy.send({ type: 'response.create' });
      const sequence = await world.worker.sequence(0);
      world.gateway.drain();
      expect((await idle.closed()).code).to.equal(1001);
      busy.send({ type: 'response.create', response: { conversation: 'none' } });
      expect(await busy.error()).to.include({ code: 'draining' });
      sequence.tokens('Hello');
      sequence.finish();
      await busy.event('response.done');
      expect((await busy.closed()).code).to.equal(1001);
    });
  });

  describe('of clients that do not read', () => {
    it('wait, and are cut when nothing moves', async () => {
      await using world = await realtimeWorld({ slowReaderTimeoutSeconds: 1 });
      const client = await world.connect();
      const content = [{ type: 'input_text', text: 'x'.repeat(900 * 1024) }];
      client.send({ type: 'conversation.item.create', item: { ...textMessage, id: 'large', content } });
      client.send({ type: 'response.create', response: { input: [textMessage] } });
      const sequence = await world.worker.sequence(0);
      client.socket.pause();
      // More than any kernel keeps for a connection.
      for (let count = 0; count < 150; count++) client.send({ type: 'conversation.item.retrieve', item_id: 'large' });
      await until(() => sequence.cancelled);
      await until(() => world.gateway.context.running.size === 0);
      const metrics = await world.gateway.context.telemetry.metrics.metrics();
      expect(metrics).to.include('stator_gateway_slow_readers_total 1');
      await until(async () =>
        (await world.gateway.context.telemetry.metrics.metrics()).includes('closed_total{reason="slow_reader"} 1'),
      );
    });
  });
});
