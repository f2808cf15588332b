import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import OpenAI from 'openai';
import { OpenAIRealtimeWS as BetaRealtime } from 'openai/beta/realtime/ws';
import { OpenAIRealtimeWS } from 'openai/realtime/ws';
import { type RealtimeWorld, realtimeWorld } from '#gateway/testing/realtime.ts';
import { answering, ScriptedWorker } from '#gateway/testing/scripted-worker.ts';
import { hermesCall, toolCard } from '#gateway/testing/tool-chats.ts';
import { until } from '#gateway/testing/until.ts';
import { Certificates, opensslFound } from '#lib/rpc/testing/certificates.ts';
import { skip } from '../../support/skip.ts';

/** The package speaks to wss: addresses only. */
describe('official openai package for Node, realtime', function () {
  this.timeout(60_000);
  let certificates: Certificates;
  let world: RealtimeWorld;
  let client: OpenAI;
  let options: { readonly ca: Buffer };

  before(async function () {
    if (!opensslFound()) skip(this, 'openssl is not installed');
    certificates = new Certificates();
    world = await realtimeWorld({}, answering('Hello'), certificates.issue('gateway'));
    options = { ca: readFileSync(certificates.ca) };
    client = new OpenAI({ baseURL: `https://${world.address}/v1`, apiKey: 'none' });
  });
  after(async () => {
    await world?.[Symbol.asyncDispose]();
    certificates?.remove();
  });

  const message = (text: string) => ({
    type: 'conversation.item.create' as const,
    item: { type: 'message' as const, role: 'user' as const, content: [{ type: 'input_text' as const, text }] },
  });

  it('answers in text', async () => {
    const realtime = new OpenAIRealtimeWS({ model: 'test-model', options }, client);
    const seen = { text: '', parts: '', status: '' };
    realtime.on('session.created', () => {
      realtime.send({ type: 'session.update', session: { type: 'realtime', output_modalities: ['text'] } });
      realtime.send(message('Hi'));
      realtime.send({ type: 'response.create' });
    });
    realtime.on('response.output_text.delta', ({ delta }) => {
      seen.parts += delta;
    });
    realtime.on('response.output_text.done', ({ text }) => {
      seen.text = text;
    });
    realtime.on('response.done', ({ response }) => {
      seen.status = response.status ?? '';
    });
    await until(() => seen.status !== '');
    expect(seen).to.deep.equal({ text: 'Hello', parts: 'Hello', status: 'completed' });
    realtime.close();
  });

  it('answers the older package in its events', async () => {
    const realtime = new BetaRealtime({ model: 'test-model', options }, client);
    const seen = { parts: '', status: '' };
    realtime.on('session.created', () => {
      realtime.send({ type: 'session.update', session: { modalities: ['text'], instructions: 'Be brief.' } });
      realtime.send(message('Hi'));
      realtime.send({ type: 'response.create' });
    });
    realtime.on('response.text.delta', ({ delta }) => {
      seen.parts += delta;
    });
    realtime.on('response.done', ({ response }) => {
      seen.status = response.status ?? '';
    });
    await until(() => seen.status !== '');
    expect(seen).to.deep.equal({ parts: 'Hello', status: 'completed' });
    realtime.close();
  });

  it('runs a loop of tools', async () => {
    const worker = new ScriptedWorker(answering(hermesCall('get_weather', { city: 'Paris' })));
    world.gateway.addWorker(2n, worker, toolCard({ name: 'caller', aliases: [] }));
    const realtime = new OpenAIRealtimeWS({ model: 'caller', options }, client);
    const asked: string[] = [];
    let text = '';
    realtime.on('session.created', () => {
      const parameters = { type: 'object', properties: { city: { type: 'string' } } };
      const tools = [{ type: 'function' as const, name: 'get_weather', parameters }];
      realtime.send({ type: 'session.update', session: { type: 'realtime', tools, tool_choice: 'auto' } });
      realtime.send(message('Weather?'));
      realtime.send({ type: 'response.create' });
    });
    realtime.on('response.function_call_arguments.done', (call) => {
      asked.push(call.arguments);
      worker.script = answering('Rain.');
      const item = { type: 'function_call_output', call_id: call.call_id, output: 'rain' } as const;
      realtime.send({ type: 'conversation.item.create', item });
    });
    realtime.on('response.done', () => {
      if (asked.length === 1 && text === '') realtime.send({ type: 'response.create' });
    });
    realtime.on('response.output_text.done', (ended) => {
      text = ended.text;
    });
    await until(() => text !== '');
    expect({ asked: asked.map((one) => JSON.parse(one) as unknown), text }).to.deep.equal({
      asked: [{ city: 'Paris' }],
      text: 'Rain.',
    });
    realtime.close();
  });

  it('raises typed errors, and goes on', async () => {
    const realtime = new OpenAIRealtimeWS({ model: 'test-model', options }, client);
    const errors: (string | null | undefined)[] = [];
    let ended = '';
    realtime.on('error', ({ error }) => errors.push(error?.code, error?.param));
    realtime.on('session.created', () => {
      realtime.send({ type: 'input_audio_buffer.append', audio: 'AAAA' });
      realtime.send(message('Hi'));
      realtime.send({ type: 'response.create' });
    });
    realtime.on('response.done', ({ response }) => {
      ended = response.status ?? '';
    });
    await until(() => ended !== '');
    expect(errors).to.deep.equal(['unsupported', 'type']);
    expect(ended).to.equal('completed');
    realtime.close();
  });
});
