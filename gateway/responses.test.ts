import { expect } from 'chai';
import OpenAI from 'openai';
import { responseObject } from './api/responses/answers.ts';
import { decodeBytes, encodeBytes } from './testing/byte-tokenizer.ts';
import { type Harness, startHarness, testCard } from './testing/harness.ts';
import { answering, ScriptedWorker } from './testing/scripted-worker.ts';
import { toolCard } from './testing/tool-chats.ts';
import { until } from './testing/until.ts';

const model = 'test-model';
const call = '<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>';
const card = testCard({ toolCallParser: 'hermes', reasoningParser: 'qwen3' });
const weather = {
  type: 'function',
  name: 'weather',
  parameters: { type: 'object', properties: { city: { type: 'string' } } },
  strict: false,
} as const;

function clientOf(gateway: Harness): OpenAI {
  return new OpenAI({ apiKey: 'none', baseURL: `${gateway.url}/v1`, maxRetries: 0 });
}

async function withWorker(worker: ScriptedWorker): Promise<Harness> {
  const gateway = await startHarness();
  gateway.addWorker(1n, worker, card);
  return gateway;
}

async function fault(call: Promise<unknown>): Promise<InstanceType<typeof OpenAI.APIError>> {
  const error = await call.catch((thrown: unknown) => thrown);
  if (error instanceof OpenAI.APIError) return error;
  throw new Error(`no API error: ${String(error)}`);
}

async function eventsOf<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const events: T[] = [];
  for await (const event of stream) events.push(event);
  return events;
}

describe('responses API', () => {
  it('answers as a whole, and keeps it', async () => {
    await using gateway = await withWorker(new ScriptedWorker(answering('Hello')));
    const client = clientOf(gateway);
    const response = await client.responses.create({ model, input: 'Hi', metadata: { a: 'b' } });
    responseObject.parse(JSON.parse(JSON.stringify(response)));
    expect(response.output_text).to.equal('Hello');
    expect(response).to.include({ object: 'response', status: 'completed', model, store: true });
    expect(response.usage).to.deep.include({ input_tokens: 8, output_tokens: 5, total_tokens: 13 });
    const again = await client.responses.retrieve(response.id);
    expect(again.output).to.deep.equal(response.output);
    expect(again.metadata).to.deep.equal({ a: 'b' });
    const items = await client.responses.inputItems.list(response.id);
    expect(items.data).to.have.length(1);
    expect(items.data[0]).to.deep.include({ role: 'user', content: [{ type: 'input_text', text: 'Hi' }] });
    await client.responses.delete(response.id);
    expect((await fault(client.responses.retrieve(response.id))).status).to.equal(404);
    expect((await fault(client.responses.delete(response.id))).status).to.equal(404);
  });

  it('counts what it would be asked with', async () => {
    await using gateway = await withWorker(new ScriptedWorker(answering('Hello')));
    const client = clientOf(gateway);
    const first = await client.responses.create({ model, input: 'Hi' });
    const asked = { model, previous_response_id: first.id, input: 'And?', instructions: 'Be kind.' };
    const counted = await client.responses.inputTokens.count(asked);
    const prompt = '<system>Be kind.<user>Hi<assistant>Hello<user>And?';
    expect(counted).to.deep.equal({ object: 'response.input_tokens', input_tokens: prompt.length });
  });

  it('takes output items of stored responses by reference', async () => {
    const worker = new ScriptedWorker(answering('<think>Hm.</think>Hello'));
    await using gateway = await withWorker(worker);
    const client = clientOf(gateway);
    const first = await client.responses.create({ model, input: 'Hi' });
    const items = first.output.map(({ id }) => ({ type: 'item_reference' as const, id: id ?? '' }));
    expect(items).to.have.length(2);
    const question = { role: 'user', content: 'And?' } as const;
    await client.responses.create({ model, input: [{ role: 'user', content: 'Hi' }, ...items, question] });
    const referred = decodeBytes(worker.sequences[1]?.request.tokenIds ?? []);
    await client.responses.create({ model, input: 'And?', previous_response_id: first.id });
    expect(referred).to.equal(decodeBytes(worker.sequences[2]?.request.tokenIds ?? []));
    const untyped = { id: items[1]?.id ?? '' } as (typeof items)[0];
    const counted = await client.responses.inputTokens.count({ model, input: [question, untyped] });
    expect(counted.input_tokens).to.equal('<user>And?<assistant>Hello'.length);

    for (const id of ['msg_1', items[0]?.id.replace(/.$/, '9') ?? '', `rs_${'0'.repeat(36)}`]) {
      const error = await fault(client.responses.create({ model, input: [{ type: 'item_reference', id }, question] }));
      expect(error).to.include({ status: 404, param: 'input[0].id' });
    }
  });

  it('tells reasoning as its summary to clients that ask for one', async () => {
    await using gateway = await withWorker(new ScriptedWorker(answering('<think>Hm.</think>Hello')));
    const client = clientOf(gateway);
    const asked = { model, input: 'Hi', reasoning: { summary: 'auto' } } as const;
    const kinds: string[] = [];
    const stream = client.responses.stream({ ...asked, include: ['reasoning.encrypted_content'] });
    for await (const { type } of stream) if (type.includes('reasoning')) kinds.push(type.replace('response.', ''));
    expect(kinds.filter((kind, index) => kind !== kinds[index - 1])).to.deep.equal([
      ...['reasoning_summary_part.added', 'reasoning_summary_text.delta'],
      ...['reasoning_summary_text.done', 'reasoning_summary_part.done'],
    ]);
    const streamed = await stream.finalResponse();
    const whole = await client.responses.create(asked);
    responseObject.parse(JSON.parse(JSON.stringify(whole)));
    for (const { output } of [streamed, whole])
      expect(output[0]).to.deep.include({ type: 'reasoning', summary: [{ type: 'summary_text', text: 'Hm.' }] });
    expect(streamed.output[0]).to.include({ encrypted_content: Buffer.from('Hm.').toString('base64') });
  });

  it('calls tools that take text', async () => {
    const patch = '*** Begin "Patch"\n+é\n';
    const called = `<tool_call>${JSON.stringify({ name: 'apply_patch', arguments: { input: patch } })}</tool_call>`;
    const worker = new ScriptedWorker(answering(called));
    await using gateway = await withWorker(worker);
    const client = clientOf(gateway);
    const format = { type: 'grammar', syntax: 'lark', definition: 'start: "x"' } as const;
    const tools: OpenAI.Responses.Tool[] = [
      { type: 'web_search' },
      { type: 'custom', name: 'apply_patch', description: 'Edits.', format },
    ];
    const stream = client.responses.stream({ model, input: 'Hi', tools });
    const told: unknown[] = [];
    for await (const event of stream) {
      if (event.type === 'response.custom_tool_call_input.delta') told.push(event.delta);
      if (event.type === 'response.custom_tool_call_input.done') told.push(event.input);
    }
    expect(told).to.deep.equal([patch, patch]);
    const response = await stream.finalResponse();
    responseObject.parse(JSON.parse(JSON.stringify(response)));
    expect(response.tools).to.have.length(1);
    const [item] = response.output;
    if (item?.type !== 'custom_tool_call') return expect.fail('no call');
    expect(item).to.include({ name: 'apply_patch', input: patch, status: 'completed' });

    const output = { type: 'custom_tool_call_output' as const, call_id: item.call_id, output: 'Done.' };
    await client.responses.create({ model, input: [{ role: 'user', content: 'Hi' }, item, output], tools });
    expect(decodeBytes(worker.sequences[1]?.request.tokenIds ?? [])).to.equal('<user>Hi<assistant><tool>Done.');
    await client.responses.create({ model, input: [output], previous_response_id: response.id });
    expect(decodeBytes(worker.sequences[2]?.request.tokenIds ?? [])).to.equal('<user>Hi<assistant><tool>Done.');
    const cut = await client.responses.create({
      model,
      input: 'Hi',
      tools,
      max_output_tokens: called.indexOf('Patch'),
    });
    expect(cut.output[0]).to.include({ type: 'custom_tool_call', input: '*** Begin "', status: 'incomplete' });
  });

  it('offers only the tools that are allowed', async () => {
    const worker = new ScriptedWorker(answering('[{"name":"time","parameters":{}}]'));
    await using gateway = await startHarness();
    gateway.addWorker(1n, worker, toolCard());
    const tools = [weather, { ...weather, name: 'time' }];
    const allowed = [{ type: 'function', name: 'time' }];
    const tool_choice = { type: 'allowed_tools' as const, mode: 'required' as const, tools: allowed };
    const response = await clientOf(gateway).responses.create({ model, input: 'Hi', tools, tool_choice });
    expect(response.tool_choice).to.deep.equal(tool_choice);
    expect(response.output[0]).to.include({ type: 'function_call', name: 'time' });
    const { constraint } = (await worker.sequence(0)).request.guided ?? {};
    expect(constraint?.value).to.include('time').and.not.include('weather');
  });

  it('does not keep what must not be stored', async () => {
    await using gateway = await withWorker(new ScriptedWorker(answering('Hello')));
    const client = clientOf(gateway);
    const response = await client.responses.create({ model, input: 'Hi', store: false });
    expect((await fault(client.responses.retrieve(response.id))).status).to.equal(404);
  });

  it('streams reasoning, text and calls as items', async () => {
    await using gateway = await withWorker(new ScriptedWorker(answering(`<think>Hm.</think>I ask.${call}`)));
    const client = clientOf(gateway);
    const stream = await client.responses.create({ model, input: 'Hi', tools: [weather], stream: true });
    const events: OpenAI.Responses.ResponseStreamEvent[] = [];
    for await (const event of stream) events.push(event);
    const kinds = events.map(({ type }) => type.replace('response.', ''));
    expect(kinds.filter((kind, index) => kind !== kinds[index - 1])).to.deep.equal([
      ...['created', 'in_progress'],
      ...['output_item.added', 'reasoning_text.delta', 'reasoning_text.done', 'output_item.done'],
      ...['output_item.added', 'content_part.added', 'output_text.delta', 'output_text.done', 'content_part.done'],
      ...['output_item.done', 'output_item.added', 'function_call_arguments.delta', 'function_call_arguments.done'],
      ...['output_item.done', 'completed'],
    ]);
    expect(events.map(({ sequence_number: number }) => number)).to.deep.equal(events.map((_, index) => index));
    const last = events.at(-1);
    if (last?.type !== 'response.completed') throw new Error('not completed');
    responseObject.parse(last.response);
    const [reasoning, message, called] = last.response.output;
    expect(reasoning).to.deep.include({ type: 'reasoning', content: [{ type: 'reasoning_text', text: 'Hm.' }] });
    expect(message).to.have.nested.property('content[0].text', 'I ask.');
    expect(called).to.include({ type: 'function_call', name: 'weather', arguments: '{"city": "Oslo"}' });
    // Whoever read the last event finds the response.
    expect((await client.responses.retrieve(last.response.id)).output).to.deep.equal(last.response.output);
  });

  it('goes on from a stored response, calls and reasoning included', async () => {
    const worker = new ScriptedWorker(answering(`<think>Hm.</think>${call}`));
    await using gateway = await withWorker(worker);
    const client = clientOf(gateway);
    const tools = [weather];
    const first = await client.responses.create({ model, input: 'Weather?', instructions: 'Be kind.', tools });
    const called = first.output.find(({ type }) => type === 'function_call');
    if (called?.type !== 'function_call') throw new Error('no call');
    worker.script = answering('Rain.');
    const output = { type: 'function_call_output', call_id: called.call_id, output: 'rain' } as const;
    const second = await client.responses.create({ model, previous_response_id: first.id, input: [output], tools });
    expect(second.output_text).to.equal('Rain.');
    await client.responses.create({ model, previous_response_id: second.id, input: 'And now?' });
    const prompts = worker.sequences.map(({ request }) => request.tokenIds);
    expect(prompts[1]).to.deep.equal(encodeBytes('<user>Weather?<assistant><tool>rain'));
    expect(prompts[2]).to.deep.equal(encodeBytes('<user>Weather?<assistant><tool>rain<assistant>Rain.<user>And now?'));
    await client.responses.delete(first.id);
    const broken = await fault(client.responses.create({ model, previous_response_id: second.id, input: 'x' }));
    expect(broken).to.include({ status: 404, param: 'previous_response_id' });
  });

  it('gives reasoning to clients that keep it themselves, and reads it back', async () => {
    const worker = new ScriptedWorker(answering('<think>Hm.</think>Yes.'));
    await using gateway = await withWorker(worker);
    const client = clientOf(gateway);
    const include = ['reasoning.encrypted_content' as const];
    const first = await client.responses.create({ model, input: 'Hi', store: false, include });
    const [reasoning] = first.output;
    expect(reasoning).to.have.property('encrypted_content').that.is.a('string');
    const input = [
      { role: 'user' as const, content: 'Hi' },
      ...first.output,
      { role: 'user' as const, content: 'So?' },
    ];
    await client.responses.create({ model, input: input as OpenAI.Responses.ResponseInput, store: false });
    expect(worker.sequences[1]?.request.tokenIds).to.deep.equal(encodeBytes('<user>Hi<assistant>Yes.<user>So?'));
  });

  it('says when the output was cut off', async () => {
    await using gateway = await withWorker(new ScriptedWorker(answering('Hello')));
    const response = await clientOf(gateway).responses.create({ model, input: 'Hi', max_output_tokens: 3 });
    expect(response.status).to.equal('incomplete');
    expect(response.incomplete_details).to.deep.equal({ reason: 'max_output_tokens' });
    expect(response.output_text).to.equal('Hel');
  });

  it('runs in the background', async () => {
    const worker = new ScriptedWorker();
    await using gateway = await withWorker(worker);
    const client = clientOf(gateway);
    const begun = await client.responses.create({ model, input: 'Hi', background: true });
    expect(begun.status).to.equal('queued');
    const sequence = await worker.sequence(0);
    expect((await client.responses.retrieve(begun.id)).status).to.equal('in_progress');
    const early = await fault(client.responses.create({ model, previous_response_id: begun.id, input: 'x' }));
    expect(early).to.include({ status: 400, param: 'previous_response_id' });
    sequence.tokens('Done');
    sequence.finish();
    await until(async () => (await client.responses.retrieve(begun.id)).status === 'completed');
    expect((await client.responses.retrieve(begun.id)).output_text).to.equal('Done');
  });

  it('streams what runs in the background, again and from where a client left', async () => {
    const worker = new ScriptedWorker();
    await using gateway = await withWorker(worker);
    const client = clientOf(gateway);
    const asked = await client.responses.create({ model, input: 'Hi', background: true, stream: true });
    const seen: OpenAI.Responses.ResponseStreamEvent[] = [];
    const sequence = await worker.sequence(0);
    sequence.tokens('Don');
    for await (const event of asked) {
      seen.push(event);
      if (event.type === 'response.output_text.delta') break;
    }
    const [created] = seen;
    if (created?.type !== 'response.created') throw new Error(`first: ${created?.type}`);
    const { id, status } = created.response;
    expect(status).to.equal('queued');
    expect(seen[1]?.type).to.equal('response.queued');
    expect(sequence.cancelled, 'the run goes on').to.equal(false);
    const after = await client.responses.retrieve(id, {
      stream: true,
      starting_after: seen.at(-1)?.sequence_number ?? 0,
    });
    const rest = eventsOf(after);
    sequence.tokens('e');
    sequence.finish();
    const whole = [...seen, ...(await rest)];
    expect(whole.map(({ sequence_number }) => sequence_number)).to.deep.equal([...whole.keys()]);
    const last = whole.at(-1);
    const [message] = last?.type === 'response.completed' ? last.response.output : [];
    expect(message?.type === 'message' && message.content[0]).to.include({ text: 'Done' });
    expect((await client.responses.retrieve(id)).status).to.equal('completed');
    expect(await eventsOf(await client.responses.retrieve(id, { stream: true }))).to.deep.equal(whole);
    const plain = await client.responses.create({ model, input: 'Hi', background: true });
    expect(await fault(client.responses.retrieve(plain.id, { stream: true }))).to.include({
      status: 400,
      param: 'stream',
    });
    await client.responses.cancel(plain.id);
  });

  it('ends the stream of what is cancelled or fails', async () => {
    const worker = new ScriptedWorker();
    await using gateway = await withWorker(worker);
    const client = clientOf(gateway);
    const ask = async () => {
      const stream = await client.responses.create({ model, input: 'Hi', background: true, stream: true });
      const events = stream[Symbol.asyncIterator]();
      const first = await events.next();
      if (first.done || first.value.type !== 'response.created') throw new Error('no response');
      return { id: first.value.response.id, rest: eventsOf({ [Symbol.asyncIterator]: () => events }) };
    };
    const lost = await ask();
    (await worker.sequence(0)).fail('engine_failed', 'broken', false);
    const failed = (await lost.rest).at(-1);
    expect(failed?.type === 'response.failed' && failed.response.error?.message).to.equal('broken');
    const unwanted = await ask();
    await worker.sequence(1);
    await client.responses.cancel(unwanted.id);
    const cancelled = (await unwanted.rest).at(-1);
    expect(cancelled?.type === 'response.failed' && cancelled.response.status).to.equal('cancelled');
  });

  it('cancels what runs in the background, and only that', async () => {
    const worker = new ScriptedWorker();
    await using gateway = await withWorker(worker);
    const client = clientOf(gateway);
    const begun = await client.responses.create({ model, input: 'Hi', background: true });
    const sequence = await worker.sequence(0);
    const cancelled = await client.responses.cancel(begun.id);
    expect(cancelled.status).to.equal('cancelled');
    expect(sequence.cancelled).to.equal(true);
    expect((await client.responses.retrieve(begun.id)).status).to.equal('cancelled');
    worker.script = answering('ok');
    const whole = await client.responses.create({ model, input: 'Hi' });
    expect((await fault(client.responses.cancel(whole.id))).status).to.equal(400);
  });

  it('keeps why a response in the background failed', async () => {
    const worker = new ScriptedWorker((sequence) => sequence.fail('engine_failed', 'broken', false));
    await using gateway = await withWorker(worker);
    const client = clientOf(gateway);
    const begun = await client.responses.create({ model, input: 'Hi', background: true });
    await until(async () => (await client.responses.retrieve(begun.id)).status === 'failed');
    expect((await client.responses.retrieve(begun.id)).error).to.deep.equal({
      code: 'engine_failed',
      message: 'broken',
    });
  });

  it('refuses by the name of the field', async () => {
    await using gateway = await withWorker(new ScriptedWorker(answering('ok')));
    const client = clientOf(gateway);
    const cases: readonly (readonly [object, string])[] = [
      [{ input: undefined }, 'input'],
      [{ input: [] }, 'input'],
      [{ input: [{ role: 'nobody', content: 'x' }] }, 'input[0].role'],
      [{ input: [{ role: 'user', content: [{ type: 'input_image', image_url: 'http://x' }] }] }, 'input[0]'],
      [{ previous_response_id: 'resp_none' }, 'previous_response_id'],
      [{ background: true, store: false }, 'store'],
      [{ tools: [{ type: 'file_search', vector_store_ids: [] }] }, 'tools[0].type'],
      [{ tools: [weather, weather] }, 'tools[1].name'],
      [{ tools: [{ type: 'web_search' }, weather, weather] }, 'tools[2].name'],
      [{ tools: [{ type: 'web_search' }], tool_choice: 'required' }, 'tool_choice'],
      [
        {
          tools: [weather],
          tool_choice: { type: 'allowed_tools', mode: 'auto', tools: [{ type: 'function', name: 'x' }] },
        },
        'tool_choice.tools[0].name',
      ],
      [{ text: { format: { type: 'json_object' } } }, 'text.format'],
      [{ max_output_tokens: 0 }, 'max_output_tokens'],
      [{ truncation: 'auto' }, 'truncation'],
      [{ max_tool_calls: 1 }, 'max_tool_calls'],
      [{ conversation: 'c' }, 'conversation'],
    ];
    for (const [change, field] of cases) {
      const asked = { model, input: 'Hi', ...change } as OpenAI.Responses.ResponseCreateParamsNonStreaming;
      const error = await fault(client.responses.create(asked));
      expect(error.param, `${JSON.stringify(change)}: ${error.message}`).to.equal(field);
      expect(error.status).to.be.oneOf([400, 404]);
    }
  });
});
