import type { ChatMessage, ContentPart, Tool, ToolCall } from '#gen/stator/chat/v1/chat_pb.ts';
import { ConversationError } from './errors.ts';
import type { TemplateFeatures } from './features.ts';
import { parseJson } from './json.ts';
import { type Data, type Dict, dict } from './value.ts';

/** The messages as a template sees them. Throws ConversationError naming what is wrong. */
export function templateMessages(messages: readonly ChatMessage[], features: TemplateFeatures): Dict[] {
  return messages.map((message, i) => templateMessage(message, features, `messages[${i}]`));
}

function templateMessage(message: ChatMessage, features: TemplateFeatures, field: string): Dict {
  const role = message.role === 'developer' && !features.developerRole ? 'system' : message.role;
  const data = dict({ role, content: contentOf(message, features, field) });
  if (message.name !== '') data.set('name', message.name);
  if (message.reasoningContent !== '') setReasoning(data, message.reasoningContent, features);
  if (message.toolCalls.length > 0) data.set('tool_calls', callsOf(message.toolCalls, features, field));
  if (message.toolCallId !== '') data.set('tool_call_id', message.toolCallId);
  return data;
}

function contentOf(message: ChatMessage, features: TemplateFeatures, field: string): Data {
  const media = message.content.findIndex(({ part }) => part.case === 'media');
  if (media >= 0 && !features.contentParts) {
    throw new ConversationError(`${field}.content[${media}]`, 'The chat template of this model takes only text.');
  }
  if (message.plainText || !features.contentParts) return textOf(message.content);
  return message.content.map(({ part }) => {
    if (part.case === 'media') return dict({ type: part.value.modality });
    return dict({ type: 'text', text: part.value ?? '' });
  });
}

/** Missing content is an empty string: most templates add strings to it. */
function textOf(content: readonly ContentPart[]): string {
  return content.map(({ part }) => (part.case === 'text' ? part.value : '')).join('');
}

/** Templates that know no reasoning get it inside the content, as the model wrote it. */
function setReasoning(data: Dict, reasoning: string, features: TemplateFeatures): void {
  if (features.reasoningContent) data.set('reasoning_content', reasoning);
  if (features.thinking) data.set('thinking', reasoning);
  if (features.reasoningContent || features.thinking) return;
  const thought = `<think>\n${reasoning}\n</think>\n\n`;
  const content = data.get('content');
  if (typeof content === 'string') data.set('content', thought + content);
  else if (Array.isArray(content)) data.set('content', [dict({ type: 'text', text: thought }), ...content]);
}

function callsOf(calls: readonly ToolCall[], features: TemplateFeatures, field: string): Dict[] {
  return calls.map((call, i) =>
    dict({
      id: call.id,
      type: 'function',
      function: dict({
        name: call.name,
        arguments: argumentsOf(call, features, `${field}.tool_calls[${i}].function.arguments`),
      }),
    }),
  );
}

function argumentsOf(call: ToolCall, features: TemplateFeatures, field: string): Data {
  if (features.argumentsAsText) return call.arguments;
  if (call.arguments.trim() === '') return dict({});
  return readJson(call.arguments, field);
}

/** The tools as a template sees them: what the client wrote, or what its fields say. */
export function templateTools(tools: readonly Tool[]): Dict[] {
  return tools.map((tool, i) => {
    const field = `tools[${i}]`;
    if (tool.definitionJson === '') return toolOf(tool, field);
    const definition = readJson(tool.definitionJson, field);
    if (definition instanceof Map) return definition;
    throw new ConversationError(field, 'A tool must be a JSON object.');
  });
}

function toolOf(tool: Tool, field: string): Dict {
  const definition = dict({ name: tool.name });
  if (tool.description !== '') definition.set('description', tool.description);
  if (tool.parametersJson !== '') {
    definition.set('parameters', readJson(tool.parametersJson, `${field}.function.parameters`));
  }
  if (tool.strict !== undefined) definition.set('strict', tool.strict);
  return dict({ type: 'function', function: definition });
}

/** The template's further variables. */
export function templateArguments(json: string): Dict {
  if (json === '') return new Map();
  const data = readJson(json, 'chat_template_kwargs');
  if (data instanceof Map) return data;
  throw new ConversationError('chat_template_kwargs', 'Arguments of the chat template must be a JSON object.');
}

function readJson(json: string, field: string): Data {
  try {
    return parseJson(json);
  } catch (cause) {
    throw new ConversationError(field, `Not valid JSON: ${cause instanceof Error ? cause.message : String(cause)}.`);
  }
}
