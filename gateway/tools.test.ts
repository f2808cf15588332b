import { expect } from 'chai';
import { FinishReason } from '#gen/stator/engine/v1/generate_pb.ts';
import { chunksOf, type ErrorBody } from './testing/answers.ts';
import { type Harness, startHarness } from './testing/harness.ts';
import { answering, ScriptedWorker } from './testing/scripted-worker.ts';
import {
  assemble,
  hermesCall,
  type ToolAnswer,
  type ToolChunk,
  timeTool,
  toolCard,
  weatherTool,
} from './testing/tool-chats.ts';

const chat = { model: 'test-model', messages: [{ role: 'user', content: 'Weather in Paris?' }] };
const withTools = { ...chat, tools: [weatherTool, timeTool] };
const paris = hermesCall('get_weather', { city: 'Paris' });
const parisArguments = '{"city":"Paris"}';

async function whole(gateway: Harness, body: object): Promise<ToolAnswer> {
  const response = await gateway.post('/v1/chat/completions', body);
  const text = await response.text();
  expect(response.status, text).to.equal(200);
  return JSON.parse(text) as ToolAnswer;
}

async function streamed(gateway: Harness, body: object): Promise<ToolChunk[]> {
  const response = await gateway.post('/v1/chat/completions', { ...body, stream: true });
  expect(response.status).to.equal(200);
  return (await chunksOf(response)) as unknown as ToolChunk[];
}

/** Answers of both kinds of request to a model that says `text`. */
async function both(text: string, body: object = withTools, card = toolCard()) {
  await using gateway = await startHarness();
  gateway.addWorker(1n, new ScriptedWorker(answering(text)), card);
  const answer = await whole(gateway, body);
  return { answer, message: answer.choices[0]?.message, chunks: assemble(await streamed(gateway, body)) };
}

async function refused(body: object, card = toolCard()): Promise<{ status: number; error: ErrorBody['error'] }> {
  await using gateway = await startHarness();
  gateway.addWorker(1n, new ScriptedWorker(answering('never')), card);
  const response = await gateway.post('/v1/chat/completions', body);
  return { status: response.status, ...((await response.json()) as ErrorBody) };
}

describe('tool calls and reasoning of chats', () => {
  it('splits reasoning, text and calls, streamed and whole alike', async () => {
    const { answer, message, chunks } = await both(`<think>\nParis, so France.\n</think>\n\nLet me look.\n${paris}`);
    expect(message?.reasoning_content).to.equal('\nParis, so France.\n');
    expect(message?.reasoning).to.equal(message?.reasoning_content);
    expect(message?.content?.trim()).to.equal('Let me look.');
    expect(message?.tool_calls?.map((call) => call.function)).to.deep.equal([
      { name: 'get_weather', arguments: parisArguments },
    ]);
    expect(message?.tool_calls?.[0]?.id).to.match(/^call-[0-9a-f-]{36}$/);
    expect(answer.choices[0]?.finish_reason).to.equal('tool_calls');
    expect(chunks.finish).to.equal('tool_calls');
    expect(chunks.content).to.equal(message?.content);
    expect(chunks.reasoning).to.equal(message?.reasoning_content);
    expect(chunks.calls.map(({ name, arguments: text }) => [name, text])).to.deep.equal([
      ['get_weather', parisArguments],
    ]);
  });

  it('streams arguments as they come', async () => {
    await using gateway = await startHarness();
    const worker = new ScriptedWorker();
    gateway.addWorker(1n, worker, toolCard());
    const pending = streamed(gateway, withTools);
    const sequence = await worker.sequence(0);
    sequence.prefilled();
    for (const letter of paris) {
      sequence.tokens(letter);
      await new Promise((resolve) => setImmediate(resolve));
    }
    sequence.finish();
    const [call] = assemble(await pending).calls;
    expect(call).to.deep.include({ name: 'get_weather', arguments: parisArguments, pieces: parisArguments.length });
  });

  it('tells whole calls and whole reasoning once more where that is set', async () => {
    await using gateway = await startHarness({ dispatchToolCalls: true, dispatchReasoning: true });
    const worker = new ScriptedWorker(
      answering(`<think>Hm, Paris.</think>${paris}${hermesCall('get_time', {})}<tool_`),
    );
    gateway.addWorker(1n, worker, toolCard());
    const stream = async (body: object) => {
      const response = await gateway.post('/v1/chat/completions', { ...body, stream: true });
      const events = (await response.text()).split('\n\n').map((event) => /^event: (.*)\ndata: (.*)$/.exec(event));
      return events.flatMap((event) => (event === null ? [] : [[event[1], JSON.parse(event[2] ?? '')]]));
    };
    const [reasoning, first, second, ...more] = await stream({ ...withTools, nvext: { extra_fields: ['timing'] } });
    expect(reasoning).to.deep.equal(['reasoning_dispatch', { index: 0, reasoning_content: 'Hm, Paris.' }]);
    expect(first?.[0]).to.equal('tool_call_dispatch');
    expect(first?.[1]).to.deep.include({ choice_index: 0 });
    expect(first?.[1].tool_call).to.deep.include({
      ...{ index: 0, type: 'function' },
      function: { name: 'get_weather', arguments: parisArguments },
    });
    expect(second?.[1].tool_call).to.deep.include({ index: 1, function: { name: 'get_time', arguments: '{}' } });
    expect(more).to.deep.equal([]);
    worker.script = answering('<think>Nothing else');
    expect(await stream(chat)).to.deep.equal([['reasoning_dispatch', { index: 0, reasoning_content: 'Nothing else' }]]);
  });

  it('counts reasoning tokens and keeps them apart from the content', async () => {
    const { answer, message } = await both('<think>abc</think>Hi', chat);
    expect(message).to.deep.include({ content: 'Hi', reasoning_content: 'abc' });
    expect(message).not.to.have.property('tool_calls');
    // One token a byte: the tag counts up to its last letter as text, then the three letters are reasoning.
    expect(answer.usage.completion_tokens).to.equal('<think>abc</think>Hi'.length);
    expect(answer.usage.completion_tokens_details.reasoning_tokens).to.be.within(4, '<think>abc</think>'.length);
  });

  it('gives null for the content of an answer that only calls', async () => {
    const { message } = await both(paris);
    expect(message?.content).to.equal(null);
  });

  it('gives several calls their own ids and places', async () => {
    const { message, chunks } = await both(`${paris}\n${hermesCall('get_time', {})}`);
    expect(message?.tool_calls?.map(({ function: { name } }) => name)).to.deep.equal(['get_weather', 'get_time']);
    expect(new Set(message?.tool_calls?.map(({ id }) => id)).size).to.equal(2);
    expect(chunks.calls.map(({ name }) => name)).to.deep.equal(['get_weather', 'get_time']);
  });

  it('reports one call where parallel calls are not wanted', async () => {
    const text = `${paris}\n${hermesCall('get_time', {})}`;
    const { message, chunks } = await both(text, { ...withTools, parallel_tool_calls: false });
    expect(message?.tool_calls).to.have.length(1);
    expect(chunks.calls).to.have.length(1);
  });

  it('leaves markup alone where no tools are offered or wanted', async () => {
    for (const body of [chat, { ...withTools, tool_choice: 'none' }]) {
      const { message, chunks } = await both(paris, body);
      expect(message?.content).to.equal(paris);
      expect(chunks.content).to.equal(paris);
      expect(chunks.finish).to.equal('stop');
    }
  });

  it('gives every token its log-probability once, in order, whatever is withheld', async () => {
    const text = `<think>hm</think>Look: ${paris}`;
    const { answer, chunks } = await both(text, { ...withTools, logprobs: true });
    expect(answer.choices[0]?.logprobs?.content.map(({ token }) => token).join('')).to.equal(text);
    expect(chunks.tokens.join('')).to.equal(text);
  });

  it('stops at stop strings of the text, inside reasoning too', async () => {
    const { message, chunks } = await both('<think>one two three</think>Hi', { ...chat, stop: ['two'] });
    expect(message).to.deep.include({ content: '', reasoning_content: 'one ' });
    expect(chunks).to.deep.include({ content: '', reasoning: 'one ', finish: 'stop' });
  });

  it('ends a call that max_tokens cuts as it stands', async () => {
    const cut = paris.indexOf('Par') + 3;
    const { answer, message, chunks } = await both(paris, { ...withTools, max_tokens: cut });
    expect(answer.choices[0]?.finish_reason).to.equal('length');
    expect(message?.tool_calls?.[0]?.function.arguments).to.equal('{"city":"Par');
    expect(chunks).to.deep.include({ content: '', finish: 'length' });
    expect(chunks.calls[0]?.arguments).to.equal('{"city":"Par');
  });

  it('keeps choices apart', async () => {
    await using gateway = await startHarness();
    const worker = new ScriptedWorker();
    gateway.addWorker(1n, worker, toolCard());
    const pending = streamed(gateway, { ...withTools, n: 2 });
    const [first, second] = [await worker.sequence(0), await worker.sequence(1)];
    first.prefilled();
    second.prefilled();
    const other = `<think>no call</think>It rains.`;
    for (let at = 0; at < Math.max(paris.length, other.length); at += 3) {
      if (at < paris.length) first.tokens(paris.slice(at, at + 3));
      if (at < other.length) second.tokens(other.slice(at, at + 3));
    }
    first.finish();
    second.finish();
    const chunks = await pending;
    expect(assemble(chunks, 0)).to.deep.include({ content: '', finish: 'tool_calls' });
    expect(assemble(chunks, 0).calls[0]?.arguments).to.equal(parisArguments);
    expect(assemble(chunks, 1)).to.deep.include({ content: 'It rains.', reasoning: 'no call', finish: 'stop' });
  });

  it('goes on in the middle of a call when the worker is lost', async () => {
    await using gateway = await startHarness();
    const [lost, next] = [new ScriptedWorker(), new ScriptedWorker()];
    gateway.addWorker(1n, lost, toolCard());
    const pending = streamed(gateway, withTools);
    const first = await lost.sequence(0);
    gateway.addWorker(2n, next, toolCard());
    const cut = paris.indexOf('Par') + 2;
    first.prefilled();
    first.tokens(`<think>so</think>${paris.slice(0, cut)}`);
    first.lose();
    const second = await next.sequence(0);
    expect(second.request.resumedOutputTokens).to.equal('<think>so</think>'.length + cut);
    second.prefilled();
    second.tokens(paris.slice(cut));
    second.finish(FinishReason.STOP);
    const chunks = assemble(await pending);
    expect(chunks).to.deep.include({ content: '', reasoning: 'so', finish: 'tool_calls' });
    expect(chunks.calls[0]?.arguments).to.equal(parisArguments);
  });

  it('forces calls by a grammar and reads them, required and named', async () => {
    const required = JSON.stringify([
      { name: 'get_weather', parameters: { city: 'Paris' } },
      { name: 'get_time', parameters: {} },
    ]);
    const many = await both(required, { ...withTools, tool_choice: 'required' });
    expect(many.message?.tool_calls?.map((call) => call.function)).to.deep.equal([
      { name: 'get_weather', arguments: parisArguments },
      { name: 'get_time', arguments: '{}' },
    ]);
    expect(many.chunks).to.deep.include({ content: '', finish: 'tool_calls' });
    const choice = { type: 'function', function: { name: 'get_weather' } };
    const named = await both(parisArguments, { ...withTools, tool_choice: choice });
    expect(named.message?.tool_calls?.map((call) => call.function)).to.deep.equal([
      { name: 'get_weather', arguments: parisArguments },
    ]);
    expect(named.chunks.calls[0]?.name).to.equal('get_weather');
  });

  it('moves reasoning into an empty content only where that is asked for', async () => {
    const asking = { ...chat, chat_template_kwargs: { force_nonempty_content: true } };
    const rescued = await both('<think>All of it.', asking);
    expect(rescued.message?.content).to.equal('All of it.');
    expect(rescued.chunks.content).to.equal('All of it.');
    expect((await both('<think>All of it.', chat)).message?.content).to.equal('');
    expect((await both('<think>hm</think>Yes', asking)).message?.content).to.equal('Yes');
  });

  it('hides reasoning, or leaves it in the content, where that is asked for', async () => {
    const hidden = await both('<think>hm</think>Yes', { ...chat, include_reasoning: false });
    expect(hidden.message).to.deep.equal({ role: 'assistant', content: 'Yes', refusal: null });
    expect(hidden.answer.usage.completion_tokens_details.reasoning_tokens).to.be.greaterThan(0);
    const left = await both('<think>hm</think>Yes', { ...chat, separate_reasoning: false });
    expect(left.message?.content).to.equal('<think>hm</think>Yes');
  });

  it('writes reasoning under the name that the gateway is set to', async () => {
    await using gateway = await startHarness({ reasoningField: 'reasoning' });
    gateway.addWorker(1n, new ScriptedWorker(answering('<think>hm</think>Yes')), toolCard());
    const { choices } = await whole(gateway, chat);
    expect(choices[0]?.message).to.deep.include({ reasoning: 'hm' });
    expect(choices[0]?.message).not.to.have.property('reasoning_content');
  });

  it('begins inside reasoning that the prompt opened, and outside of one that it closed', async () => {
    const opened = { ...chat, messages: [{ role: 'user', content: 'Think! <think>\n' }] };
    expect((await both('hm</think>Yes', opened)).message).to.deep.include({ reasoning_content: 'hm', content: 'Yes' });
    const closed = { ...chat, messages: [{ role: 'user', content: '<think>\n\n</think>\n\n' }] };
    const forced = toolCard({ reasoningParser: 'deepseek_r1' });
    expect((await both('Yes', closed, forced)).message?.content).to.equal('Yes');
    expect((await both('hm</think>Yes', chat, forced)).message).to.deep.include({ reasoning_content: 'hm' });
    expect((await both('Yes', { ...chat, thinking: false }, forced)).message?.content).to.equal('Yes');
  });

  it('finds formats by what the chat template shows', async () => {
    const card = toolCard({ toolCallParser: '', reasoningParser: '' });
    const tokenizer = card.tokenizer;
    if (tokenizer !== undefined) tokenizer.chatTemplate = '{{ tools }} <think> [TOOL_CALLS] {{ messages }}';
    const text = '<think>hm</think>[TOOL_CALLS][{"name": "get_weather", "arguments": {"city":"Paris"}}]';
    const { message } = await both(text, withTools, card);
    expect(message?.reasoning_content).to.equal('hm');
    expect(message?.tool_calls?.[0]?.function.arguments).to.equal(parisArguments);
  });

  it('refuses what contradicts itself or cannot be done, naming the field', async () => {
    const noParser = toolCard({ toolCallParser: 'none' });
    const plain = { ...noParser, capabilities: { ...noParser.capabilities, guidedModes: [] } } as typeof noParser;
    const allowed = (names: string[]) => ({
      type: 'allowed_tools',
      allowed_tools: { mode: 'auto', tools: names.map((name) => ({ type: 'function', function: { name } })) },
    });
    const cases: [object, string, number, ReturnType<typeof toolCard>?][] = [
      [{ ...withTools, tool_choice: { type: 'function', function: { name: 'other' } } }, 'tool_choice', 400],
      [{ ...withTools, tool_choice: allowed(['other']) }, 'tool_choice.allowed_tools.tools[0].function.name', 400],
      [{ ...chat, tool_choice: 'required' }, 'tool_choice', 400],
      [{ ...chat, tools: [weatherTool, weatherTool] }, 'tools[1].function.name', 400],
      [{ ...withTools, tool_choice: 'required', guided_regex: 'a' }, 'guided_regex', 400],
      [withTools, 'tools', 400, noParser],
      [withTools, 'tools', 400, toolCard({ toolCallParser: 'no_such_parser' })],
      [{ ...withTools, tool_choice: 'required' }, 'tool_choice', 400, plain],
    ];
    for (const [body, field, status, card] of cases) {
      const answer = await refused(body, card);
      expect(answer.error.param, JSON.stringify(body)).to.equal(field);
      expect(answer.status, answer.error.message).to.equal(status);
    }
  });

  it("takes messages back as clients' helpers keep them", async () => {
    await using gateway = await startHarness();
    gateway.addWorker(1n, new ScriptedWorker(answering('Sunny.')), toolCard());
    const call = {
      id: 'call-1',
      type: 'function',
      function: { name: 'get_weather', arguments: parisArguments, parsed_arguments: { city: 'Paris' } },
    };
    const messages = [
      ...chat.messages,
      { role: 'assistant', content: null, parsed: null, reasoning: 'hm', tool_calls: [call] },
      { role: 'tool', tool_call_id: 'call-1', content: 'Sun' },
      {
        role: 'assistant',
        content: [{ type: 'text', text: 'It is.', role: 'assistant', refusal: null, reasoning: 'hm' }],
      },
      ...chat.messages,
    ];
    const { choices } = await whole(gateway, { ...withTools, messages });
    expect(choices[0]?.message.content).to.equal('Sunny.');
  });

  it('offers only the tools that are allowed', async () => {
    await using gateway = await startHarness();
    const worker = new ScriptedWorker(answering(JSON.stringify([{ name: 'get_time', parameters: {} }])));
    gateway.addWorker(1n, worker, toolCard());
    const tool_choice = {
      type: 'allowed_tools',
      allowed_tools: { mode: 'required', tools: [{ type: 'function', function: { name: 'get_time' } }] },
    };
    const { choices } = await whole(gateway, { ...withTools, tool_choice });
    expect(choices[0]?.message.tool_calls?.[0]?.function.name).to.equal('get_time');
    const { request } = await worker.sequence(0);
    expect(request.guided?.constraint.case).to.equal('structuralTag');
    expect(request.guided?.constraint.value).to.include('get_time').and.not.include('get_weather');
  });
});
