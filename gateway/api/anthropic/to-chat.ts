import { StatorError } from '#lib/errors/errors.ts';
import { FieldNames, type Renaming } from '../field-names.ts';
import type { ChatRequestBody } from '../schemas/chat.ts';
import type { CountTokensRequestBody, MessagesRequestBody } from './schema.ts';
import { assistantMessage, textOf, userMessages } from './to-chat-messages.ts';

type Messages = ChatRequestBody['messages'];
type Tools = NonNullable<ChatRequestBody['tools']>;

/** A request of Anthropic's API as a chat. */
export interface TranslatedMessages {
  readonly chat: ChatRequestBody;
  /** What the client calls the fields of the chat. */
  readonly names: FieldNames;
}

const renaming: Renaming = [
  [/^max_completion_tokens$|^max_tokens$/, 'max_tokens'],
  [/^stop$|^stop_token_ids$/, 'stop_sequences'],
  [/^response_format.*$/, 'output_config.format'],
  [/^reasoning_effort$/, 'output_config.effort'],
  [/^parallel_tool_calls$/, 'tool_choice.disable_parallel_tool_use'],
  [/^tools\[(\d+)\]\.function\.parameters/, 'tools[$1].input_schema'],
  [/^tools\[(\d+)\]\.function\./, 'tools[$1].'],
];

/** A line that Claude Code varies from request to request, which would keep every prefix from being found again. */
const billingLine = /^x-anthropic-billing-header:[^\n]*\n?/;

/** Throws StatorError naming the field, in the client's words, of whatever cannot be said in a chat. */
export function messagesToChat(body: MessagesRequestBody | CountTokensRequestBody): TranslatedMessages {
  const names = new FieldNames(renaming, 'system');
  const messages = messagesOf(body, names);
  const continues = body.messages.at(-1)?.role === 'assistant';
  const format = body.output_config?.format;
  const chat: ChatRequestBody = {
    model: body.model,
    messages,
    ...toolsOf(body),
    ...thinkingOf(body),
    ...(continues ? { continue_final_message: true, add_generation_prompt: false } : {}),
    ...(body.output_config?.effort ? { reasoning_effort: body.output_config.effort } : {}),
    ...(format
      ? {
          response_format: {
            type: 'json_schema',
            json_schema: { name: 'output', schema: format.schema, strict: true },
          },
        }
      : {}),
    ...('max_tokens' in body ? generationOf(body) : {}),
  };
  return { chat, names };
}

function generationOf(body: MessagesRequestBody): Partial<ChatRequestBody> {
  const { temperature, top_p, top_k, nvext, stream, metadata, stop_sequences: stop } = body;
  return {
    max_completion_tokens: body.max_tokens,
    temperature,
    top_p,
    top_k,
    nvext,
    stream,
    ...(stop && stop.length > 0 ? { stop } : {}),
    ...(metadata?.user_id ? { user: metadata.user_id.slice(0, 512) } : {}),
  };
}

function messagesOf(body: MessagesRequestBody | CountTokensRequestBody, names: FieldNames): Messages {
  const messages: Messages = [];
  const system = systemOf(body.system);
  if (system !== '') messages.push({ role: 'system', content: system });
  for (const [index, message] of body.messages.entries()) {
    const field = `messages[${index}]`;
    const first = messages.length;
    if (message.role === 'user') messages.push(...userMessages(message.content, field));
    else if (message.role === 'system') messages.push({ role: 'system', content: textOf(message.content) });
    else messages.push(assistantMessage(message.content));
    for (let place = first; place < messages.length; place++) names.message(place, field);
  }
  checkPrefill(messages, body.messages.length - 1);
  return messages;
}

/** What the model continues must be text. */
function checkPrefill(messages: Messages, index: number): void {
  const last = messages.at(-1);
  if (last?.role !== 'assistant' || (last.tool_calls ?? []).length === 0) return;
  const field = `messages[${index}].content`;
  throw StatorError.invalid(field, `Validation: \`${field}\`: \`tool_use\` needs a \`tool_result\` after it`);
}

function systemOf(system: MessagesRequestBody['system']): string {
  if (system === null || system === undefined) return '';
  const blocks = typeof system === 'string' ? [system] : system.map(({ text }) => text);
  return blocks
    .map((text) => text.replace(billingLine, ''))
    .filter((text) => text !== '')
    .join('\n');
}

function toolsOf(body: MessagesRequestBody | CountTokensRequestBody): Partial<ChatRequestBody> {
  const { tools, tool_choice: choice } = body;
  const parallel = choice && choice.type !== 'none' ? choice.disable_parallel_tool_use : null;
  return {
    ...(tools ? { tools: tools.map(toolOf) } : {}),
    ...(choice ? { tool_choice: choiceOf(choice) } : {}),
    ...(parallel === true ? { parallel_tool_calls: false } : {}),
  };
}

function toolOf(tool: NonNullable<MessagesRequestBody['tools']>[number]): Tools[number] {
  const examples = (tool.input_examples ?? []).map((example) => JSON.stringify(example));
  const shown = examples.length === 0 ? '' : `\n\nExamples of input:\n${examples.join('\n')}`;
  const description = `${tool.description ?? ''}${shown}`.trim();
  return {
    type: 'function',
    function: {
      name: tool.name,
      ...(description === '' ? {} : { description }),
      parameters: tool.input_schema,
      ...(typeof tool.strict === 'boolean' ? { strict: tool.strict } : {}),
    },
  };
}

function choiceOf(choice: NonNullable<MessagesRequestBody['tool_choice']>): ChatRequestBody['tool_choice'] {
  switch (choice.type) {
    case 'any':
      return 'required';
    case 'tool':
      return { type: 'function', function: { name: choice.name } };
    default:
      return choice.type;
  }
}

function thinkingOf({ thinking }: MessagesRequestBody | CountTokensRequestBody): Partial<ChatRequestBody> {
  if (!thinking) return {};
  const hidden = thinking.type !== 'disabled' && thinking.display === 'omitted';
  return { thinking: { type: thinking.type }, ...(hidden ? { include_reasoning: false } : {}) };
}
