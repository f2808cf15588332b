import type { MessageInitShape } from '@bufbuild/protobuf';
import type { ChatMessageSchema, ContentPartSchema, ToolSchema } from '#gen/stator/chat/v1/chat_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { ResolvedModel } from '../../models/catalog.ts';
import type { Message, Tool } from '../schemas/message.ts';
import { jsonText } from './json-text.ts';

type PartInit = MessageInitShape<typeof ContentPartSchema>;
type MessageInit = MessageInitShape<typeof ChatMessageSchema>;
type Part = Exclude<NonNullable<Message['content']>, string>[number];

function mediaOf(part: Part): { modality: string; url: string; uuid: string } | null {
  switch (part.type) {
    case 'image_url':
      return { modality: 'image', url: part.image_url.url, uuid: part.image_url.uuid ?? '' };
    case 'video_url':
      return { modality: 'video', url: part.video_url.url, uuid: part.video_url.uuid ?? '' };
    case 'audio_url':
      return { modality: 'audio', url: part.audio_url.url, uuid: part.audio_url.uuid ?? '' };
    case 'input_audio':
      return {
        modality: 'audio',
        url: `data:audio/${part.input_audio.format};base64,${part.input_audio.data}`,
        uuid: '',
      };
    default:
      return null;
  }
}

function partOf(part: Part, field: string, model: ResolvedModel): PartInit {
  if (part.type === 'text') return { part: { case: 'text', value: part.text } };
  if (part.type === 'refusal') return { part: { case: 'text', value: part.refusal } };
  const media = mediaOf(part);
  if (media === null) throw StatorError.unsupported(field, `\`${field}\` has a kind of content that is not supported`);
  if (!(model.entry.card.capabilities?.modalities ?? []).includes(media.modality)) {
    const name = model.entry.name;
    throw StatorError.unsupported(
      field,
      `\`${field}\` holds ${media.modality}, which the model \`${name}\` does not read`,
    );
  }
  const { modality, url, uuid } = media;
  return { part: { case: 'media', value: { modality, uuid, source: { case: 'url', value: url } } } };
}

function contentOf(content: Message['content'], field: string, model: ResolvedModel): PartInit[] {
  if (content === null || content === undefined) return [];
  if (typeof content === 'string') return [{ part: { case: 'text', value: content } }];
  return content.map((part, index) => partOf(part, `${field}[${index}]`, model));
}

/** Arguments of an earlier call must be an object: templates read them as one. */
function checkArguments(text: string, field: string): void {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return;
  } catch {
    // Reported below: text that is no JSON is as wrong as JSON that is no object.
  }
  throw StatorError.invalid(field, `Validation: \`${field}\`: must be the text of a JSON object`);
}

function assistantParts(message: Message & { role: 'assistant' }, field: string) {
  const calls = message.tool_calls ?? [];
  for (const [index, call] of calls.entries()) {
    checkArguments(call.function.arguments, `${field}.tool_calls[${index}].function.arguments`);
  }
  return {
    toolCalls: calls.map((call) => ({ id: call.id, name: call.function.name, arguments: call.function.arguments })),
    reasoningContent: message.reasoning_content ?? message.reasoning ?? '',
  };
}

/** The conversation as the tokenizer takes it; content that the model cannot read is refused by its field. */
export function chatMessagesOf(messages: readonly Message[], model: ResolvedModel): MessageInit[] {
  return messages.map((message, index): MessageInit => {
    const field = `messages[${index}]`;
    return {
      role: message.role,
      content: contentOf(message.content, `${field}.content`, model),
      plainText: typeof message.content === 'string',
      name: message.name ?? '',
      ...(message.role === 'assistant' ? assistantParts(message, field) : {}),
      ...(message.role === 'tool' ? { toolCallId: message.tool_call_id } : {}),
    };
  });
}

export function toolsOf(tools: readonly Tool[]): MessageInitShape<typeof ToolSchema>[] {
  return tools.map((tool, index) => ({
    name: tool.function.name,
    description: tool.function.description ?? '',
    parametersJson: tool.function.parameters
      ? jsonText(tool.function.parameters, `tools[${index}].function.parameters`)
      : '',
    ...(typeof tool.function.strict === 'boolean' ? { strict: tool.function.strict } : {}),
    definitionJson: jsonText(tool, `tools[${index}]`),
  }));
}

/** The text of a conversation without a template: its texts, one after the other. */
export function rawPromptOf(messages: readonly Message[]): string {
  const texts = messages.map((message) => {
    const { content } = message;
    if (typeof content === 'string') return content;
    return (content ?? []).map((part) => (part.type === 'text' ? part.text : '')).join('');
  });
  return texts.join('\n');
}
