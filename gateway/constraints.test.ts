import { expect } from 'chai';
import { jsonSchemaGrammar, regexGrammar } from '#core/grammar/constraints.ts';
import { structuralTagGrammar } from '#core/grammar/structural-tag.ts';
import { GbnfMatcher } from '#core/grammar/testing/matcher.ts';
import type { GuidedDecoding } from '#gen/stator/engine/v1/generate_pb.ts';
import { GuidedMode, type ModelCard } from '#gen/stator/model/v1/model_pb.ts';
import type { ErrorBody } from './testing/answers.ts';
import { startHarness } from './testing/harness.ts';
import { answering, type ScriptedSequence, ScriptedWorker } from './testing/scripted-worker.ts';
import { hermesCall, type ToolAnswer, timeTool, toolCard, weatherTool } from './testing/tool-chats.ts';

const chat = { model: 'test-model', messages: [{ role: 'user', content: 'Hi' }] };
const strict = (tool: typeof weatherTool) => ({ ...tool, function: { ...tool.function, strict: true } });
const strictChat = { ...chat, tools: [strict(weatherTool), timeTool] };
const schema = { type: 'object', properties: { ok: { type: 'boolean' } }, required: ['ok'] };
const jsonFormat = { response_format: { type: 'json_schema', json_schema: { name: 'x', schema } } };
const noReasoning = toolCard({ reasoningParser: 'none' });

/** The answer to a chat whose model says `text`, and what the engine was asked to keep to. */
async function ask(body: object, text: string, card: ModelCard = toolCard()) {
  await using gateway = await startHarness();
  const worker = new ScriptedWorker(answering(text));
  gateway.addWorker(1n, worker, card);
  const response = await gateway.post('/v1/chat/completions', body);
  const answer = (await response.json()) as ToolAnswer & ErrorBody;
  expect(response.status, JSON.stringify(answer)).to.equal(200);
  const { request } = await worker.sequence(0);
  return { message: answer.choices[0]?.message, constraint: request.guided?.constraint };
}

/** A card whose engine takes no structural tags. */
function withoutTags(card: ModelCard): ModelCard {
  const { capabilities } = card;
  if (capabilities !== undefined)
    capabilities.guidedModes = capabilities.guidedModes.filter((mode) => mode !== GuidedMode.STRUCTURAL_TAG);
  return card;
}

function grammarOf(constraint: GuidedDecoding['constraint'] | undefined): GbnfMatcher {
  if (constraint?.case === 'jsonSchema') return new GbnfMatcher(jsonSchemaGrammar(JSON.parse(constraint.value)));
  if (constraint?.case === 'regex') return new GbnfMatcher(regexGrammar(constraint.value));
  if (constraint?.case === 'structuralTag') return new GbnfMatcher(structuralTagGrammar(JSON.parse(constraint.value)));
  throw new Error(`no grammar for ${constraint?.case}`);
}

/** Checks which answers the constraint of a chat allows. */
async function expectAllowed(body: object, card: ModelCard, allowed: readonly string[], others: readonly string[]) {
  const { constraint } = await ask(body, allowed[0] ?? '', card);
  const grammar = grammarOf(constraint);
  for (const text of allowed) expect(grammar.matches(text), `allows ${text}`).to.equal(true);
  for (const text of others) expect(grammar.matches(text), `forbids ${text}`).to.equal(false);
}

const m3 = ']<]minimax[>[';
const args = { city: 'Paris', days: 3 };
const wrong = { days: 3 };

/** Calls of get_weather with arguments as each format writes them. */
function parameters(given: object, open: (key: string, text: boolean) => string, close: string): string {
  const all = Object.entries(given).map(
    ([key, value]: [string, unknown]) => `${open(key, typeof value === 'string')}${value}${close}\n`,
  );
  return all.join('');
}

function dsml(block: string, given: object): string {
  const open = (key: string, text: boolean) => `<｜DSML｜parameter name="${key}" string="${text}">`;
  const invoke = `<｜DSML｜invoke name="get_weather">\n${parameters(given, open, '</｜DSML｜parameter>')}</｜DSML｜invoke>`;
  return `<｜DSML｜${block}>\n${invoke}\n</｜DSML｜${block}>`;
}

const calls: Readonly<Record<string, (args: object) => string>> = {
  hermes: (given) =>
    hermesCall('get_weather', given).replace(
      '"name":"get_weather","arguments":',
      '"name": "get_weather", "arguments": ',
    ),
  llama3_json: (given) => `{"name": "get_weather", "parameters": ${JSON.stringify(given)}}`,
  nemotron_deci: (given) => `<TOOLCALL>[{"name": "get_weather", "arguments": ${JSON.stringify(given)}}]</TOOLCALL>`,
  phi4: (given) => `functools[{"name": "get_weather", "arguments": ${JSON.stringify(given)}}]`,
  granite: (given) => `<|tool_call|>[{"name": "get_weather", "arguments": ${JSON.stringify(given)}}]`,
  mistral: (given) => `[TOOL_CALLS][{"name": "get_weather", "arguments": ${JSON.stringify(given)}}]`,
  jamba: (given) => `<tool_calls>[\n    {"name": "get_weather", "arguments": ${JSON.stringify(given)}}\n]</tool_calls>`,
  qwen3_coder: (given) =>
    `<tool_call>\n<function=get_weather>\n${Object.entries(given)
      .map(([key, value]) => `<parameter=${key}>\n${value}\n</parameter>\n`)
      .join('')}</function>\n</tool_call>`,
  deepseek_v3: (given) =>
    `<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n\`\`\`json\n${JSON.stringify(given)}\n\`\`\`<｜tool▁call▁end｜><｜tool▁calls▁end｜>`,
  deepseek_v3_1: (given) =>
    `<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>${JSON.stringify(given)}<｜tool▁call▁end｜><｜tool▁calls▁end｜>`,
  default: (given) => `{"name": "get_weather", "arguments": ${JSON.stringify(given)}}`,
  harmony: (given) =>
    `<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>${JSON.stringify(given)}`,
  glm47: (given) =>
    `<tool_call>get_weather\n${parameters(given, (key) => `<arg_key>${key}</arg_key>\n<arg_value>`, '</arg_value>')}</tool_call>`,
  minimax_m2: (given) =>
    `<minimax:tool_call>\n<invoke name="get_weather">\n${parameters(given, (key) => `<parameter name="${key}">`, '</parameter>')}</invoke>\n</minimax:tool_call>`,
  deepseek_v3_2: (given) => dsml('function_calls', given),
  deepseek_v4: (given) => dsml('tool_calls', given),
  gemma4: (given) =>
    `<|tool_call>call:get_weather{${Object.entries(given)
      .map(([key, value]) => `${key}:${typeof value === 'string' ? `<|"|>${value}<|"|>` : value}`)
      .join(',')}}<tool_call|>`,
  pythonic: (given) =>
    `[get_weather(${Object.entries(given)
      .map(([key, value]) => `${key}=${JSON.stringify(value)}`)
      .join(', ')})]`,
  minimax_m3: (given) =>
    `${m3}<tool_call>\n${m3}<invoke name="get_weather">${Object.entries(given)
      .map(([key, value]) => `${m3}<${key}>${value}${m3}</${key}>`)
      .join('')}${m3}</invoke>\n${m3}</tool_call>`,
  kimi_k3: (given) =>
    `<|open|>tools<|sep|><|open|>call tool="get_weather" index="1"<|sep|>${Object.entries(given)
      .map(
        ([key, value]) => `<|open|>argument key="${key}" type="${typeof value}"<|sep|>${value}<|close|>argument<|sep|>`,
      )
      .join('')}<|close|>call<|sep|><|close|>tools<|sep|>`,
  inkling: (given) =>
    `<|message_model|>get_weather<|content_invoke_tool_json|>${JSON.stringify({ name: 'get_weather', args: given })}<|end_message|>`,
  kimi_k2: (given) =>
    `<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>${JSON.stringify(given)}<|tool_call_end|><|tool_calls_section_end|>`,
};

describe('what engines keep answers to', () => {
  for (const [format, call] of Object.entries(calls)) {
    it(`lets ${format} write calls of strict tools that keep to their schemas`, async () => {
      const card = toolCard({ toolCallParser: format, reasoningParser: 'none' });
      const good = call(args);
      const { message, constraint } = await ask(strictChat, good, card);
      expect(
        message?.tool_calls?.map((one) => JSON.parse(one.function.arguments)),
        'what is allowed is read',
      ).to.deep.equal([args]);
      const grammar = grammarOf(constraint);
      expect(grammar.matches(good), good).to.equal(true);
      expect(grammar.matches('Just text.'), 'text').to.equal(true);
      expect(grammar.matches(call(wrong)), call(wrong)).to.equal(false);
    });
  }

  it('lets gpt-oss reason, call in both of its ways and say something first', async () => {
    const card = toolCard({ toolCallParser: 'harmony', reasoningParser: 'gpt_oss' });
    const call = (head: string, given: object) => `<|start|>assistant${head}<|message|>${JSON.stringify(given)}`;
    const heads = [
      '<|channel|>commentary to=functions.get_weather <|constrain|>json',
      ' to=functions.get_weather<|channel|>commentary json',
    ];
    const before = '<|channel|>analysis<|message|>hm<|end|>';
    const good = heads.map((head) => before + call(head, args));
    await expectAllowed(
      strictChat,
      card,
      [...good, '<|channel|>final<|message|>Hi'],
      heads.map((head) => call(head, wrong)),
    );
    const { message } = await ask(strictChat, `${good[1]}<|call|>`, card);
    expect(message?.reasoning_content).to.equal('hm');
    expect(message?.tool_calls?.[0]?.function).to.deep.equal({ name: 'get_weather', arguments: JSON.stringify(args) });
  });

  it('forces a list of calls, one where calls are not parallel, or the arguments of one tool', async () => {
    const one = '[{"name":"get_time","parameters":{}}]';
    const two = '[{"name":"get_time","parameters":{}},{"name":"get_weather","parameters":{"city":"Rome"}}]';
    const bad = ['[]', 'text', '[{"name":"other","parameters":{}}]', '[{"name":"get_weather","parameters":{}}]'];
    const required = { ...chat, tools: [weatherTool, timeTool], tool_choice: 'required' };
    await expectAllowed(required, noReasoning, [one, two], bad);
    await expectAllowed({ ...required, parallel_tool_calls: false }, noReasoning, [one], [two]);
    const named = { ...required, tool_choice: { type: 'function', function: { name: 'get_weather' } } };
    await expectAllowed(named, noReasoning, ['{"city":"Rome"}', '{"city":"Rome","days":2}'], ['{}', one]);
  });

  it('moves references of tools along with their schemas', async () => {
    const parameters = {
      type: 'object',
      properties: { at: { $ref: '#/$defs/place' }, $ref: { type: 'string' } },
      required: ['at'],
      $defs: {
        place: {
          type: 'object',
          properties: { x: { type: 'integer' }, next: { $ref: '#/$defs/place' } },
          required: ['x'],
        },
      },
    };
    const tools = [timeTool, { type: 'function', function: { name: 'go', parameters } }];
    const good = '[{"name":"go","parameters":{"at":{"x":1,"next":{"x":2}}}}]';
    const bad = '[{"name":"go","parameters":{"at":{"x":1,"next":{"y":2}}}}]';
    await expectAllowed({ ...chat, tools, tool_choice: 'required' }, noReasoning, [good], [bad]);
  });

  it('lets the model think first, where it may, must or has begun to', async () => {
    const body = { ...chat, ...jsonFormat };
    const json = '{"ok":true}';
    const thought = `<think>\nWell, {"ok": 1}?</think>\n\n${json}`;
    await expectAllowed(body, toolCard(), [thought, json], ['text', '<think>text', 'hm</think>{"ok":true}']);
    const forced = toolCard({ reasoningParser: 'deepseek_r1' });
    await expectAllowed(body, forced, [`hm</think>${json}`, thought], [json, 'text']);
    await expectAllowed({ ...body, thinking: false }, forced, [json], ['hm</think>x']);
    const opened = { ...body, messages: [{ role: 'user', content: '<think>\n' }] };
    await expectAllowed(opened, toolCard(), [`hm</think>${json}`], [json]);
    const harmony = toolCard({ toolCallParser: 'harmony', reasoningParser: 'gpt_oss' });
    const channels = `<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>${json}`;
    await expectAllowed(body, harmony, [channels], [json]);
    const { message } = await ask(body, thought);
    expect(message).to.deep.include({ content: `\n\n${json}`, reasoning_content: '\nWell, {"ok": 1}?' });
  });

  it('puts room for reasoning in front of every kind of constraint', async () => {
    const kinds: [object, string, string][] = [
      [{ guided_json: schema }, '{"ok":true}', '{"ok":1}'],
      [{ guided_json: JSON.stringify(schema) }, '{"ok":true}', '{"ok":1}'],
      [{ response_format: { type: 'json_object' } }, '{"any":[1]}', '[1]'],
      [{ guided_regex: '[0-9]+' }, '42', 'x'],
      [{ guided_choice: ['yes', 'no'] }, 'no', 'maybe'],
      [{ guided_grammar: 'root ::= "a"+' }, 'aa', 'b'],
      [{ structural_tag: { type: 'structural_tag', format: { type: 'const_string', value: 'c' } } }, 'c', 'd'],
      [
        {
          response_format: {
            type: 'structural_tag',
            structures: [{ begin: '<f>', schema, end: '</f>' }],
            triggers: ['<f>'],
          },
        },
        'a<f>{"ok":true}</f>',
        'a<f>1</f>',
      ],
    ];
    for (const [fields, good, bad] of kinds) {
      await expectAllowed(
        { ...chat, ...fields },
        toolCard(),
        [good, `<think>hm</think>${good}`],
        [bad, `<think>hm</think>${bad}`],
      );
    }
  });

  it('allows calls or the format of the content, each as it must be', async () => {
    const body = { ...strictChat, ...jsonFormat };
    const good = calls['hermes']?.(args) ?? '';
    await expectAllowed(
      body,
      noReasoning,
      ['{"ok":true}', good, `${good}\n${good}`],
      ['text', '{"ok":1}', calls['hermes']?.(wrong) ?? '', `${good} text`],
    );
    const { message } = await ask(body, `<think>hm</think>${good}`);
    expect(message?.tool_calls).to.have.length(1);
    expect(message?.reasoning_content).to.equal('hm');
    const json = await ask(body, '<think>hm</think>{"ok":true}');
    expect(json.message).to.deep.include({ content: '{"ok":true}', reasoning_content: 'hm' });
    expect((await ask(body, good)).message?.tool_calls).to.have.length(1);
  });

  it('leaves the constraint to an engine that makes room for reasoning by itself', async () => {
    const { constraint } = await ask({ ...chat, ...jsonFormat }, '{"ok":true}', withoutTags(toolCard()));
    expect(constraint?.case).to.equal('jsonSchema');
  });

  it('goes on elsewhere in the middle of a constraint where engines can', async () => {
    for (const guidedResume of [true, false]) {
      await using gateway = await startHarness();
      const card = toolCard();
      if (card.capabilities !== undefined) card.capabilities.guidedResume = guidedResume;
      const [lost, next] = [new ScriptedWorker(), new ScriptedWorker(answering('ris"}'))];
      gateway.addWorker(1n, lost, card);
      const named = { tool_choice: { type: 'function', function: { name: 'get_weather' } } };
      const pending = gateway.post('/v1/chat/completions', { ...chat, tools: [weatherTool], ...named });
      const sequence = await lost.sequence(0);
      gateway.addWorker(2n, next, card);
      sequence.prefilled();
      sequence.tokens('{"city":"Pa');
      sequence.lose();
      const response = await pending;
      expect(response.status).to.equal(guidedResume ? 200 : 503);
      if (!guidedResume) continue;
      const { choices } = (await response.json()) as ToolAnswer;
      expect(choices[0]?.message.tool_calls?.[0]?.function.arguments).to.equal('{"city":"Paris"}');
      const { request } = await next.sequence(0);
      expect(request.guided?.constraint.case).to.equal('structuralTag');
      expect(request.resumedOutputTokens).to.equal('{"city":"Pa'.length);
    }
  });

  it('trusts the model with strict tools that nothing can keep to, and says so', async () => {
    await using gateway = await startHarness();
    gateway.addWorker(1n, new ScriptedWorker(answering('Hi')), withoutTags(toolCard()));
    const said = async (body: object) => {
      const response = await gateway.post('/v1/chat/completions', body);
      await response.text();
      return [response.status, response.headers.get('x-stator-not-enforced')];
    };
    expect(await said(strictChat)).to.deep.equal([200, 'tools.strict']);
    expect(await said({ ...strictChat, stream: true })).to.deep.equal([200, 'tools.strict']);
    expect(await said({ ...strictChat, tool_choice: 'none' })).to.deep.equal([200, null]);
    expect(await said({ ...chat, tools: [timeTool] })).to.deep.equal([200, null]);
    gateway.addWorker(2n, new ScriptedWorker(answering('Hi')), { ...toolCard(), name: 'kept' });
    expect(await said({ ...strictChat, model: 'kept' })).to.deep.equal([200, null]);
  });

  it('refuses what cannot be kept to, naming the field', async () => {
    const bare = withoutTags(toolCard());
    const python = toolCard({ toolCallParser: 'pythonic' });
    const spaced = { type: 'function', function: { name: 'f', strict: true, parameters: { required: ['two words'] } } };
    const cases: [object, string, ModelCard?][] = [
      [strictChat, 'tools[0].function.strict', bare],
      [{ ...chat, tools: [timeTool, spaced] }, 'tools[1].function.strict', python],
      [{ ...chat, tools: [timeTool], ...jsonFormat }, 'response_format', bare],
      [{ ...chat, tools: [timeTool], guided_regex: 'a' }, 'guided_regex'],
      [{ ...chat, tools: [timeTool], tool_choice: 'required', guided_regex: 'a' }, 'guided_regex'],
      [{ ...chat, guided_json: '{' }, 'guided_json'],
      [{ ...chat, structural_tag: 'no' }, 'structural_tag'],
      [{ ...chat, ...jsonFormat, structural_tag: '{}' }, 'structural_tag'],
    ];
    for (const [body, field, card] of cases) {
      await using gateway = await startHarness({ strictTools: 'enforce' });
      gateway.addWorker(1n, new ScriptedWorker(answering('never')), card ?? toolCard());
      const response = await gateway.post('/v1/chat/completions', body);
      const { error } = (await response.json()) as ErrorBody;
      expect([response.status, error.param], JSON.stringify(error)).to.deep.equal([400, field]);
    }
  });

  it('refuses schemas that are nested too deep, naming the field', async () => {
    const deep = (depth: number): string => `${'{"items":'.repeat(depth)}{}${'}'.repeat(depth)}`;
    for (const depth of [2500, 20_000]) {
      const tool = `{"type":"function","function":{"name":"f","parameters":${deep(depth)}}}`;
      const bodies = [
        `{"model":"test-model","messages":[{"role":"user","content":"Hi"}],"tools":[${tool}],"tool_choice":"required"}`,
        `{"model":"test-model","messages":[{"role":"user","content":"Hi"}],"guided_json":${deep(depth)}}`,
      ];
      for (const body of bodies) {
        await using gateway = await startHarness();
        gateway.addWorker(1n, new ScriptedWorker(answering('[]')), toolCard());
        const response = await gateway.post('/v1/chat/completions', body);
        const text = await response.text();
        expect(response.status, text).to.be.oneOf([200, 400]);
      }
    }
  });

  it("names the client's field where the engine refuses the constraint", async () => {
    for (const stream of [false, true]) {
      await using gateway = await startHarness();
      const refusing = (sequence: ScriptedSequence): void => {
        sequence.failOf('guided.structural_tag', 'The keyword "contains" at #/x is not supported.');
      };
      gateway.addWorker(1n, new ScriptedWorker(refusing), toolCard());
      const response = await gateway.post('/v1/chat/completions', { ...chat, ...jsonFormat, stream });
      const { error } = (await response.json()) as ErrorBody;
      expect([response.status, error.param]).to.deep.equal([400, 'response_format']);
      expect(error.message).to.include('#/x');
    }
  });
});
