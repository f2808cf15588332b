import Anthropic from '@anthropic-ai/sdk';
import { expect } from 'chai';
import { anthropicEvent, anthropicMessage } from './api/anthropic/answers.ts';
import { encodeBytes } from './testing/byte-tokenizer.ts';
import { type Harness, startHarness, testCard } from './testing/harness.ts';
import { answering, ScriptedWorker } from './testing/scripted-worker.ts';

const model = 'test-model';
const hello: Anthropic.MessageParam[] = [{ role: 'user', content: 'Hi' }];
const weather: Anthropic.Tool = {
  name: 'weather',
  description: 'Tells the weather.',
  input_schema: { type: 'object', properties: { city: { type: 'string' }, days: { type: 'integer' } } },
};
const call = '<tool_call>{"name": "weather", "arguments": {"city": "Oslo", "days": 3}}</tool_call>';
const thinkingCard = testCard({ toolCallParser: 'hermes', reasoningParser: 'qwen3' });

function clientOf(gateway: Harness): Anthropic {
  return new Anthropic({ apiKey: 'none', baseURL: gateway.url, maxRetries: 0 });
}

/** A gateway whose model answers with this text. */
async function answeringWith(text: string): Promise<Harness> {
  const gateway = await startHarness();
  gateway.addWorker(1n, new ScriptedWorker(answering(text)), thinkingCard);
  return gateway;
}

describe('messages API', () => {
  it('answers as a whole', async () => {
    await using gateway = await answeringWith('Hello "wörld"');
    const message = await clientOf(gateway).messages.create({ model, max_tokens: 50, messages: hello });
    anthropicMessage.parse(message);
    expect(message).to.deep.include({
      type: 'message',
      role: 'assistant',
      model,
      content: [{ type: 'text', text: 'Hello "wörld"', citations: null }],
      stop_reason: 'end_turn',
      stop_sequence: null,
      usage: { input_tokens: 8, cache_creation_input_tokens: 0, cache_read_input_tokens: 0, output_tokens: 14 },
    });
    expect(message.id).to.match(/^msg_[\da-f]{32}$/);
    expect(message._request_id).to.match(/^[\da-f-]{36}$/);
  });

  it('takes more output tokens than the context leaves, which then bounds them', async () => {
    const worker = new ScriptedWorker(answering('ok'));
    await using gateway = await startHarness();
    gateway.addWorker(1n, worker);
    const client = clientOf(gateway);
    // The answer is streamed because the client would otherwise refuse to wait for so much.
    await client.messages.stream({ model, max_tokens: 32_000, messages: hello }).finalMessage();
    expect((await worker.sequence(0)).request.stop?.maxTokens).to.equal(4096 - '<user>Hi'.length);
    const long = [{ role: 'user' as const, content: 'x'.repeat(4096) }];
    const refused = await client.messages.create({ model, max_tokens: 5, messages: long }).catch((error) => error);
    expect(refused).to.include({ status: 400 });
  });

  it('counts cached tokens apart', async () => {
    await using gateway = await startHarness();
    const worker = new ScriptedWorker((sequence) => {
      sequence.prefilled(6);
      sequence.tokens('ok');
      sequence.finish();
    });
    gateway.addWorker(1n, worker);
    const { usage } = await clientOf(gateway).messages.create({ model, max_tokens: 50, messages: hello });
    expect(usage).to.include({ input_tokens: 2, cache_read_input_tokens: 6, output_tokens: 2 });
  });

  it('streams reasoning, text and calls as blocks of their own', async () => {
    await using gateway = await answeringWith(`<think>Look it up.</think>I ask.${call}`);
    const stream = clientOf(gateway).messages.stream({ model, max_tokens: 500, messages: hello, tools: [weather] });
    const kinds: string[] = [];
    for await (const event of stream) {
      anthropicEvent.parse(event);
      kinds.push(event.type === 'content_block_delta' ? event.delta.type : event.type);
    }
    const runs = kinds.filter((kind, index) => kind !== kinds[index - 1] && kind !== 'ping');
    expect(runs).to.deep.equal([
      'message_start',
      ...['content_block_start', 'thinking_delta', 'signature_delta', 'content_block_stop'],
      ...['content_block_start', 'text_delta', 'content_block_stop'],
      ...['content_block_start', 'input_json_delta', 'content_block_stop'],
      ...['message_delta', 'message_stop'],
    ]);
    const message = await stream.finalMessage();
    const [thinking, text, use] = message.content;
    expect(thinking).to.include({ type: 'thinking', thinking: 'Look it up.' });
    expect(thinking?.type === 'thinking' && thinking.signature).to.match(/^.{40,}$/);
    expect(text).to.include({ type: 'text', text: 'I ask.' });
    expect(use).to.deep.include({ type: 'tool_use', name: 'weather', input: { city: 'Oslo', days: 3 } });
    expect(message.stop_reason).to.equal('tool_use');
    expect(message.usage.output_tokens).to.be.greaterThan(50);
  });

  it('gives the same blocks as a whole', async () => {
    await using gateway = await answeringWith(`<think>Look it up.</think>I ask.${call}${call}`);
    const client = clientOf(gateway);
    const message = await client.messages.create({ model, max_tokens: 500, messages: hello, tools: [weather] });
    anthropicMessage.parse(message);
    expect(message.content.map(({ type }) => type)).to.deep.equal(['thinking', 'text', 'tool_use', 'tool_use']);
    expect(message.content[3]).to.deep.include({ input: { city: 'Oslo', days: 3 } });
    const hidden = { type: 'adaptive', display: 'omitted' } as const;
    const quiet = await client.messages.create({
      ...{ model, max_tokens: 500, messages: hello },
      tools: [weather],
      thinking: hidden,
    });
    expect(quiet.content.map(({ type }) => type)).to.deep.equal(['text', 'tool_use', 'tool_use']);
  });

  it('keeps the finished members of a call that was cut off', async () => {
    await using gateway = await answeringWith(call);
    const cut = '<tool_call>{"name": "weather", "arguments": {"city": "Oslo", "da'.length;
    const message = await clientOf(gateway).messages.create({
      ...{ model, max_tokens: cut, messages: hello },
      tools: [weather],
    });
    expect(message.stop_reason).to.equal('max_tokens');
    expect(message.content).to.have.length(1);
    expect(message.content[0]).to.deep.include({ type: 'tool_use', name: 'weather', input: { city: 'Oslo' } });
  });

  it('says which stop sequence ended the answer', async () => {
    await using gateway = await answeringWith('one. END two');
    const asked = { model, max_tokens: 50, messages: hello, stop_sequences: ['END', 'X'] };
    const message = await clientOf(gateway).messages.create(asked);
    expect(message).to.include({ stop_reason: 'stop_sequence', stop_sequence: 'END' });
    expect(message.content[0]).to.include({ text: 'one. ' });
  });

  it('gives the conversation to the template, results of tools included', async () => {
    await using gateway = await startHarness();
    const worker = new ScriptedWorker(answering('ok'));
    gateway.addWorker(1n, worker, thinkingCard);
    const cache_control = { type: 'ephemeral' } as const;
    await clientOf(gateway).messages.create({
      model,
      max_tokens: 5,
      system: [
        { type: 'text', text: 'x-anthropic-billing-header: cc=1\n' },
        { type: 'text', text: 'Be kind.', cache_control },
      ],
      messages: [
        { role: 'user', content: [{ type: 'text', text: 'Weather?', cache_control }] },
        {
          role: 'assistant',
          content: [
            { type: 'thinking', thinking: 'hm', signature: '' },
            { type: 'tool_use', id: 't1', name: 'weather', input: { city: 'Oslo' } },
          ],
        },
        {
          role: 'user',
          content: [
            { type: 'tool_result', tool_use_id: 't1', content: [{ type: 'text', text: 'Rain' }] },
            { type: 'tool_result', tool_use_id: 't2', content: 'no network', is_error: true },
            { type: 'text', text: 'And now?' },
          ],
        },
      ],
      tools: [weather],
    });
    const { request } = await worker.sequence(0);
    const prompt = '<system>Be kind.<user>Weather?<assistant><tool>Rain<tool>Error: no network<user>And now?';
    expect(request.tokenIds).to.deep.equal(encodeBytes(prompt));
  });

  it('counts the tokens of what it would answer', async () => {
    await using gateway = await answeringWith('ok');
    const counted = await clientOf(gateway).messages.countTokens({ model, messages: hello, system: 'Be kind.' });
    expect(counted).to.deep.equal({ input_tokens: '<system>Be kind.<user>Hi'.length });
  });

  it('lists models in the shape that its clients expect', async () => {
    await using gateway = await answeringWith('ok');
    const client = clientOf(gateway);
    const page = await client.models.list();
    expect(page.data.map(({ id, type }) => ({ id, type }))).to.deep.equal([{ id: model, type: 'model' }]);
    expect(await client.models.retrieve(model)).to.include({ id: model, display_name: model, max_input_tokens: 4096 });
    const plain = (await (await fetch(`${gateway.url}/v1/models`)).json()) as object;
    expect(plain).to.include({ object: 'list' });
  });

  it('refuses by the name of the field, in the shape that its clients expect', async () => {
    await using gateway = await answeringWith('ok');
    const client = clientOf(gateway);
    const asked = { model, max_tokens: 5, messages: hello };
    const image = { type: 'image', source: { type: 'url', url: 'http://x/y.png' } } as const;
    const cases: readonly (readonly [object, string])[] = [
      [{ ...asked, max_tokens: undefined }, 'max_tokens'],
      [{ ...asked, messages: [{ role: 'user', content: 'x'.repeat(4096) }] }, 'messages'],
      [{ ...asked, messages: [] }, 'messages'],
      [{ ...asked, top_kk: 1 }, 'top_kk'],
      [{ ...asked, tools: [weather, weather] }, 'tools[1].name'],
      [{ ...asked, tools: [weather], tool_choice: { type: 'tool', name: 'none' } }, 'tool_choice'],
      [{ ...asked, tools: [weather], tool_choice: { type: 'any' } }, 'tool_choice'],
      [{ ...asked, tools: [{ type: 'web_search_20250305', name: 'web_search' }] }, 'tools[0].type'],
      [{ ...asked, stop_sequences: [''] }, 'stop_sequences[0]'],
      [{ ...asked, system: 'a', messages: [{ role: 'user', content: [image] }] }, 'messages[0]'],
      [{ ...asked, output_config: { format: { type: 'json_schema', schema: {} } } }, 'output_config.format'],
    ];
    for (const [body, field] of cases) {
      const error = await client.messages.create(body as typeof asked).catch((thrown: unknown) => thrown);
      expect(error, field).to.be.instanceOf(Anthropic.BadRequestError);
      expect((error as Error).message)
        .to.contain('invalid_request_error')
        .and.contain(field);
    }
    const unknown = await client.messages.create({ ...asked, model: 'none' }).catch((thrown: unknown) => thrown);
    expect(unknown).to.be.instanceOf(Anthropic.NotFoundError);
    const version = { 'anthropic-version': 'latest', 'content-type': 'application/json' };
    const response = await gateway.post('/v1/messages', asked, { headers: version });
    expect(response.status).to.equal(400);
  });

  it('tells of errors in a stream that has begun', async () => {
    await using gateway = await startHarness();
    const worker = new ScriptedWorker();
    gateway.addWorker(1n, worker);
    const client = clientOf(gateway);
    const events: string[] = [];
    const streaming = (async () => {
      const stream = await client.messages.create({ model, max_tokens: 50, messages: hello, stream: true });
      for await (const event of stream) {
        events.push(event.type);
        if (event.type === 'content_block_delta') (await worker.sequence(0)).fail('engine_failed', 'broken', false);
      }
    })();
    const sequence = await worker.sequence(0);
    sequence.tokens('one');
    const error = await streaming.catch((thrown: unknown) => thrown);
    expect(events).to.include('content_block_delta');
    expect((error as Error).message)
      .to.contain('broken')
      .and.contain('api_error');
  });

  it('ends the engine when the client leaves', async () => {
    await using gateway = await startHarness();
    const worker = new ScriptedWorker();
    gateway.addWorker(1n, worker);
    const leave = new AbortController();
    const asked = { model, max_tokens: 50, messages: hello, stream: true } as const;
    const streaming = clientOf(gateway).messages.create(asked, { signal: leave.signal });
    const sequence = await worker.sequence(0);
    sequence.tokens('one');
    await streaming;
    leave.abort();
    while (!sequence.cancelled) await new Promise((resolve) => setTimeout(resolve, 5));
  });
});
