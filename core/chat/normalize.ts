import { create } from '@bufbuild/protobuf';
import { type ChatMessage, ChatMessageSchema, type ContentPart } from '#gen/stator/chat/v1/chat_pb.ts';

/**
 * A conversation as the strictest templates take it: one system message in front, and no two turns of a user in a row.
 * What later system messages say follows the first one's text.
 */
export function normalized(messages: readonly ChatMessage[]): ChatMessage[] {
  const system = messages.filter(isSystem);
  const turns: ChatMessage[] = [];
  for (const message of messages) {
    const last = turns.at(-1);
    if (isSystem(message)) continue;
    if (last?.role === 'user' && message.role === 'user') turns[turns.length - 1] = joined(last, message);
    else turns.push(message);
  }
  const [first, ...others] = system;
  return first === undefined ? turns : [others.reduce(joined, first), ...turns];
}

function isSystem({ role }: ChatMessage): boolean {
  return role === 'system' || role === 'developer';
}

function joined(first: ChatMessage, second: ChatMessage): ChatMessage {
  const gap: ContentPart = { $typeName: 'stator.chat.v1.ContentPart', part: { case: 'text', value: '\n\n' } };
  const content = [...first.content, gap, ...second.content];
  return create(ChatMessageSchema, { ...first, content, plainText: first.plainText && second.plainText });
}
