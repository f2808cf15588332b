import { create } from '@bufbuild/protobuf';
import {
  type ChatMessage,
  ChatMessageSchema,
  type ContentPart,
  type Tool,
  type ToolCall,
} from '#gen/stator/chat/v1/chat_pb.ts';
import { templateTools } from './conversation.ts';
import { toJson } from './jinja/print.ts';

/** As templates print tools. */
const plainJson = { ensureAscii: false, indent: null, itemSeparator: ', ', keySeparator: ': ', sortKeys: false };

const before = `# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
`;
const after = `
</tools>

For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>`;

/**
 * A conversation for a template that knows no tools: they are described in the system message as Qwen's templates do,
 * earlier calls and their results stand in the text as Hermes models write and read them. `systemRole`: whether the
 * template takes a system message; else the description stands in front of the first message.
 */
export function describeTools(
  messages: readonly ChatMessage[],
  tools: readonly Tool[],
  systemRole: boolean,
): ChatMessage[] {
  const out: ChatMessage[] = [];
  for (const message of messages) {
    const previous = out.at(-1);
    const plain = asText(message);
    // Results of several calls are one turn: templates want turns to alternate.
    if (message.role === 'tool' && previous !== undefined && isResult(previous)) {
      out[out.length - 1] = { ...previous, content: [...previous.content, textPart('\n'), ...plain.content] };
    } else out.push(plain);
  }
  if (tools.length === 0) return out;
  const description =
    before +
    templateTools(tools)
      .map((tool) => toJson(tool, plainJson))
      .join('\n') +
    after;
  return introduced(out, description, systemRole);
}

function introduced(messages: readonly ChatMessage[], description: string, systemRole: boolean): ChatMessage[] {
  const [first, ...rest] = messages;
  const isSystem = first?.role === 'system' || first?.role === 'developer';
  if (first !== undefined && isSystem) {
    return [{ ...first, content: [...first.content, textPart(`\n\n${description}`)] }, ...rest];
  }
  if (systemRole || first === undefined) {
    const system = create(ChatMessageSchema, { role: 'system', content: [textPart(description)], plainText: true });
    return [system, ...messages];
  }
  return [{ ...first, content: [textPart(`${description}\n\n`), ...first.content] }, ...rest];
}

function asText(message: ChatMessage): ChatMessage {
  if (message.role === 'tool') {
    const content = [textPart('<tool_response>\n'), ...message.content, textPart('\n</tool_response>')];
    return { ...message, role: 'user', content, toolCallId: '', name: '' };
  }
  if (message.toolCalls.length === 0) return message;
  const calls = message.toolCalls.map(callText).join('\n');
  const gap = message.content.length === 0 ? '' : '\n';
  return { ...message, content: [...message.content, textPart(gap + calls)], toolCalls: [], plainText: true };
}

function callText(call: ToolCall): string {
  const args = call.arguments.trim() === '' ? '{}' : call.arguments;
  return `<tool_call>\n{"name": ${JSON.stringify(call.name)}, "arguments": ${args}}\n</tool_call>`;
}

function isResult({ role, content }: ChatMessage): boolean {
  const [first] = content;
  return role === 'user' && first?.part.case === 'text' && first.part.value === '<tool_response>\n';
}

function textPart(value: string): ContentPart {
  return { $typeName: 'stator.chat.v1.ContentPart', part: { case: 'text', value } };
}
