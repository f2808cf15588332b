import { create } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { ToolSchema } from '#gen/stator/chat/v1/chat_pb.ts';
import { ChatPromptSchema } from '#gen/stator/tokenizer/v1/tokenizer_pb.ts';
import { renderChat, TemplateCache } from './render.ts';

const plain =
  "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";
const knowing = `${plain}{% if tools %}{{ tools | length }}{% endif %}`;
const withoutSystem = `{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}${plain}`;
const definition = '{"type": "function", "function": {"name": "f", "parameters": {"b": 1, "a": 1.0}}}';
const tools = [create(ToolSchema, { name: 'f', definitionJson: definition })];

type Prompt = Parameters<typeof create<typeof ChatPromptSchema>>[1];

function rendered(template: string, prompt: Prompt): string {
  const options = { now: new Date(0), nowMs: () => 0, maxMs: 1000, maxOutputLength: 10_000, accommodates: true };
  const specialTokens = { bos: '', eos: '', unk: '', pad: '' };
  const sources = { main: template, named: {} };
  return renderChat(new TemplateCache({ limit: 2 }), sources, create(ChatPromptSchema, prompt), {
    ...options,
    specialTokens,
  });
}

const said = (role: string, text: string) => ({
  role,
  content: [{ part: { case: 'text' as const, value: text } }],
  plainText: true,
});

describe('tools for templates that know none', () => {
  it('are described in the system message, as the client wrote them', () => {
    const text = rendered(plain, { messages: [said('system', 'Be brief.'), said('user', 'Hi')], tools });
    expect(text).to.match(/^<system>Be brief\.\n\n# Tools\n/);
    expect(text).to.include(`<tools>\n${definition}\n</tools>`);
    expect(text).to.match(/<\/tool_call><user>Hi<assistant>$/);
    expect(rendered(plain, { messages: [said('user', 'Hi')], tools })).to.match(/^<system># Tools\n/);
  });

  it('are described in the first message where there is no place for a system message', () => {
    const text = rendered(withoutSystem, { messages: [said('user', 'Hi')], tools });
    expect(text)
      .to.match(/^<user># Tools\n/)
      .and.to.match(/<\/tool_call>\n\nHi<assistant>$/);
  });

  it('appear in earlier turns as models write and read them', () => {
    const toolCalls = [
      { id: '1', name: 'f', arguments: '{"x": 1}' },
      { id: '2', name: 'g', arguments: '' },
    ];
    const messages = [
      said('user', 'Hi'),
      { ...said('assistant', 'Look:'), toolCalls },
      { ...said('tool', 'one'), toolCallId: '1' },
      { ...said('tool', 'two'), toolCallId: '2' },
      { role: 'assistant', content: [], toolCalls: toolCalls.slice(1) },
    ];
    expect(rendered(plain, { messages })).to.equal(
      '<user>Hi<assistant>Look:\n<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>\n' +
        '<tool_call>\n{"name": "g", "arguments": {}}\n</tool_call>' +
        '<user><tool_response>\none\n</tool_response>\n<tool_response>\ntwo\n</tool_response>' +
        '<assistant><tool_call>\n{"name": "g", "arguments": {}}\n</tool_call><assistant>',
    );
  });

  it('are left to templates that know them', () => {
    expect(rendered(knowing, { messages: [said('user', 'Hi')], tools })).to.equal('<user>Hi<assistant>1');
  });
});
