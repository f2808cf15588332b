import { StatorError } from '#lib/errors/errors.ts';
import type { Message } from '../schemas/message.ts';
import type { AssistantBlock, UserBlock } from './schema.ts';

type UserContent = Exclude<(Message & { role: 'user' })['content'], string>;
type ToolResult = UserBlock & { type: 'tool_result' };

/** Text of a content that holds nothing else. */
export function textOf(content: string | readonly { readonly text: string }[]): string {
  return typeof content === 'string' ? content : content.map(({ text }) => text).join('\n');
}

/** A user's turn: results of tools are messages of their own, in their place among the other blocks. */
export function userMessages(content: string | readonly UserBlock[], field: string): Message[] {
  if (typeof content === 'string') return [{ role: 'user', content }];
  const messages: Message[] = [];
  let parts: UserContent = [];
  const close = (): void => {
    const [first] = parts;
    if (first === undefined) return;
    const only = parts.length === 1 && first.type === 'text' ? first.text : parts;
    messages.push({ role: 'user', content: only });
    parts = [];
  };
  for (const [index, block] of content.entries()) {
    if (block.type === 'tool_result') {
      close();
      messages.push(toolMessage(block, `${field}.content[${index}]`));
    } else parts.push(partOf(block));
  }
  close();
  return messages;
}

function partOf(block: Exclude<UserBlock, ToolResult>): UserContent[number] {
  switch (block.type) {
    case 'text':
      return { type: 'text', text: block.text };
    case 'image':
      return { type: 'image_url', image_url: { url: imageUrl(block.source) } };
    case 'document':
      return { type: 'text', text: documentText(block) };
  }
}

function imageUrl(source: (UserBlock & { type: 'image' })['source']): string {
  return source.type === 'url' ? source.url : `data:${source.media_type};base64,${source.data}`;
}

function documentText({ title, context, source }: UserBlock & { type: 'document' }): string {
  return [title, context, source.data]
    .filter((text) => text !== null && text !== undefined && text !== '')
    .join('\n\n');
}

function toolMessage({ tool_use_id: id, content, is_error: failed }: ToolResult, field: string): Message {
  const text =
    typeof content === 'string'
      ? content
      : (content ?? [])
          .map((block, index) => {
            if (block.type === 'text') return block.text;
            if (block.type === 'document') return documentText(block);
            const place = `${field}.content[${index}]`;
            throw StatorError.unsupported(place, `\`${place}\`: images in the result of a tool are not supported`);
          })
          .join('\n');
  // Templates have no place for the failure of a tool, so the text says it.
  const shown = failed === true && !/^error/i.test(text) ? `Error: ${text}` : text;
  return { role: 'tool', tool_call_id: id, content: shown };
}

/** The assistant's turn; reasoning that was redacted is nothing that a model here could read. */
export function assistantMessage(content: string | readonly AssistantBlock[]): Message {
  if (typeof content === 'string') return { role: 'assistant', content };
  const texts = content.filter((block) => block.type === 'text').map(({ text }) => ({ type: 'text' as const, text }));
  const thoughts = content.filter((block) => block.type === 'thinking').map(({ thinking }) => thinking);
  const calls = content
    .filter((block) => block.type === 'tool_use')
    .map(({ id, name, input }) => ({
      id,
      type: 'function' as const,
      function: { name, arguments: JSON.stringify(input) },
    }));
  const [first] = texts;
  const text = first === undefined ? '' : texts.length === 1 ? first.text : texts;
  return {
    role: 'assistant',
    content: calls.length > 0 && text === '' ? null : text,
    ...(thoughts.length > 0 ? { reasoning_content: thoughts.join('\n') } : {}),
    ...(calls.length > 0 ? { tool_calls: calls } : {}),
  };
}
