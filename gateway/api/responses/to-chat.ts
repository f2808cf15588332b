import { StatorError } from '#lib/errors/errors.ts';
import { FieldNames, type Renaming } from '../field-names.ts';
import type { ChatRequestBody } from '../schemas/chat.ts';
import type { Message } from '../schemas/message.ts';
import type { InputItem, MessageItem, ResolvedBody, ResponsesRequestBody } from './schema.ts';
import { chatTool, customArguments, offeredTools } from './tools.ts';

/** A response as a chat. */
export interface TranslatedResponse {
  readonly chat: ChatRequestBody;
  /** What the client calls the fields of the chat. */
  readonly names: FieldNames;
}

type AssistantMessage = Message & { role: 'assistant' };
type Parts = Exclude<MessageItem['content'], string>;

const renaming: Renaming = [
  [/^max_completion_tokens$|^max_tokens$/, 'max_output_tokens'],
  [/^response_format.*$/, 'text.format'],
  [/^reasoning_effort$/, 'reasoning.effort'],
  [/^messages$/, 'input'],
  [/^tools\[(\d+)\]\.function\./, 'tools[$1].'],
  [/^tool_choice\.allowed_tools\.tools\[(\d+)\]\.function\./, 'tool_choice.tools[$1].'],
];

/** The items of a request; text is a user's message. */
export function itemsOf(input: string | readonly InputItem[]): readonly InputItem[] {
  return typeof input === 'string' ? [{ type: 'message', role: 'user', content: input }] : input;
}

/** Throws StatorError naming the field, in the client's words, of whatever cannot be said in a chat. */
export function responseToChat(
  body: ResolvedBody<ResponsesRequestBody>,
  earlier: readonly InputItem[],
): TranslatedResponse {
  const names = new FieldNames([...toolNames(body.tools), ...renaming], 'previous_response_id');
  const messages = new Conversation();
  if (body.instructions) messages.add({ role: 'system', content: body.instructions });
  names.message(0, 'instructions');
  for (const item of earlier) messages.item(item, 'previous_response_id');
  const text = typeof body.input === 'string';
  for (const [index, item] of itemsOf(body.input).entries()) {
    const field = text ? 'input' : `input[${index}]`;
    names.message(messages.item(item, field), field);
  }
  const { temperature, top_p, nvext, stream, user, prompt_cache_key, parallel_tool_calls, metadata } = body;
  const chat: ChatRequestBody = {
    model: body.model,
    messages: messages.all,
    max_completion_tokens: body.max_output_tokens,
    ...{ temperature, top_p, nvext, stream, prompt_cache_key, parallel_tool_calls, metadata },
    user: user ?? body.safety_identifier,
    tools: body.tools && offeredTools(body.tools).map(chatTool),
    tool_choice: choiceOf(body.tool_choice),
    reasoning_effort: body.reasoning?.effort,
    response_format: formatOf(body.text),
  };
  return { chat, names };
}

/** What the client calls tools that stand behind some that are not offered. */
function toolNames(tools: ResponsesRequestBody['tools']): Renaming {
  const places = (tools ?? []).flatMap((tool, index) =>
    tool.type === 'function' || tool.type === 'custom' ? [index] : [],
  );
  if (places.length === tools?.length) return [];
  return places.map((place, index) => [new RegExp(`^tools\\[${index}\\]\\.function\\.`), `tools[${place}].`]);
}

function choiceOf(choice: ResponsesRequestBody['tool_choice']): ChatRequestBody['tool_choice'] {
  if (typeof choice !== 'object' || choice === null) return choice;
  const named = ({ name }: { name: string }) => ({ type: 'function' as const, function: { name } });
  if (choice.type !== 'allowed_tools') return named(choice);
  return { type: 'allowed_tools', allowed_tools: { mode: choice.mode, tools: choice.tools.map(named) } };
}

function formatOf(text: ResponsesRequestBody['text']): ChatRequestBody['response_format'] {
  const format = text?.format;
  if (format?.type !== 'json_schema') return format ?? null;
  const { name, description, schema, strict } = format;
  return { type: 'json_schema', json_schema: { name, description, schema, strict } };
}

/** Messages of a chat, where reasoning, text and calls that follow each other are one turn of the assistant. */
class Conversation {
  readonly all: Message[] = [];
  #open: AssistantMessage | null = null;

  add(message: Message): number {
    this.#open = null;
    return this.all.push(message) - 1;
  }

  /** The place of the message that the item became or joined. */
  item(item: InputItem, field: string): number {
    switch (item.type) {
      case 'function_call':
        return this.#call(item.call_id, item.name, item.arguments);
      case 'custom_tool_call':
        return this.#call(item.call_id, item.name, customArguments(item.input));
      case 'custom_tool_call_output':
      case 'function_call_output': {
        const { output } = item;
        const content = typeof output === 'string' ? output : output.map(({ text }) => text).join('\n');
        return this.add({ role: 'tool', tool_call_id: item.call_id, content });
      }
      case 'reasoning':
        return this.#join((turn) => {
          const before = turn.reasoning_content ? `${turn.reasoning_content}\n` : '';
          turn.reasoning_content = before + thoughtOf(item);
        });
      case 'message':
        return this.#message(item, field);
    }
  }

  #call(id: string, name: string, json: string): number {
    return this.#join((turn) => {
      const call = { id, type: 'function' as const, function: { name, arguments: json } };
      turn.tool_calls = [...(turn.tool_calls ?? []), call];
    });
  }

  #message(item: MessageItem, field: string): number {
    if (item.role !== 'assistant') return this.add(plainMessage(item, field));
    const text = textOf(item.content, field);
    return this.#join((turn) => {
      turn.content = typeof turn.content === 'string' ? `${turn.content}\n${text}` : text;
    });
  }

  #join(change: (turn: AssistantMessage) => void): number {
    if (this.#open === null) {
      const turn: AssistantMessage = { role: 'assistant', content: null };
      this.all.push(turn);
      this.#open = turn;
    }
    change(this.#open);
    return this.all.length - 1;
  }
}

function thoughtOf({ content, summary, encrypted_content: hidden }: InputItem & { type: 'reasoning' }): string {
  if (content && content.length > 0) return content.map(({ text }) => text).join('');
  if (hidden) return Buffer.from(hidden, 'base64').toString('utf8');
  return summary.map(({ text }) => text).join('\n');
}

function plainMessage({ role, content }: MessageItem, field: string): Message {
  if (role !== 'user') return { role: role === 'assistant' ? 'system' : role, content: textOf(content, field) };
  if (typeof content === 'string') return { role, content };
  const [first] = content;
  if (content.length === 1 && first?.type === 'input_text') return { role, content: first.text };
  if (content.length === 0) return { role, content: '' };
  return { role, content: content.map((part, index) => partOf(part, `${field}.content[${index}]`)) };
}

function partOf(part: Parts[number], field: string) {
  if (part.type !== 'input_image') return { type: 'text' as const, text: textOfPart(part) };
  if (!part.image_url) throw StatorError.invalid(field, `Validation: \`${field}.image_url\`: is required`);
  return { type: 'image_url' as const, image_url: { url: part.image_url, detail: part.detail } };
}

function textOf(content: MessageItem['content'], field: string): string {
  if (typeof content === 'string') return content;
  return content
    .map((part, index) => {
      const place = `${field}.content[${index}]`;
      if (part.type === 'input_image') throw StatorError.unsupported(place, `\`${place}\`: only users send images`);
      return textOfPart(part);
    })
    .join('');
}

function textOfPart(part: Exclude<Parts[number], { type: 'input_image' }>): string {
  return part.type === 'refusal' ? part.refusal : part.text;
}
