import { z } from 'zod';
import { modelField } from '../api/schemas/common.ts';

const id = z.string().min(1).max(128);
const status = z.enum(['completed', 'incomplete', 'in_progress']).nullish();
const itemFields = { id: id.nullish(), object: z.literal('realtime.item').nullish(), status };

const text = z.string();
const part = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('input_text'), text }),
  z.strictObject({ type: z.literal('output_text'), text }),
  z.strictObject({ type: z.literal('text'), text }),
  z.strictObject({
    type: z.literal('input_image'),
    image_url: z.string().min(1),
    detail: z.enum(['auto', 'low', 'high']).nullish(),
  }),
]);

const message = z.strictObject({
  type: z.literal('message'),
  role: z.enum(['user', 'assistant', 'system']),
  content: z.array(part),
  ...itemFields,
});
const functionCall = z.strictObject({
  type: z.literal('function_call'),
  call_id: id.nullish(),
  name: z.string().min(1).max(128),
  arguments: text,
  ...itemFields,
});
const functionOutput = z.strictObject({
  type: z.literal('function_call_output'),
  call_id: id,
  output: text,
  ...itemFields,
});
const newItem = z.discriminatedUnion('type', [message, functionCall, functionOutput]);
const reference = z.strictObject({ type: z.literal('item_reference'), id });

export type NewItem = z.infer<typeof newItem>;

const tool = z.strictObject({
  type: z.literal('function'),
  name: z.string().min(1).max(128),
  description: z.string().nullish(),
  parameters: z.record(z.string(), z.unknown()).nullish(),
  strict: z.boolean().nullish(),
});
const toolChoice = z.union([
  z.enum(['none', 'auto', 'required']),
  z.strictObject({ type: z.literal('function'), name: z.string().min(1) }),
]);
const mostTokens = z.union([z.int().min(1).max(1_048_576), z.literal('inf')]);
const modalities = z.array(z.literal('text')).min(1).max(1);
const metadata = z.record(z.string().max(64), z.string().max(512));

/** What asks for reasoning to be shown: no value of the protocol's, which has no place for reasoning. */
export const shownReasoning = 'stator.reasoning';

/** What a session and a response say alike; older clients use other names for some. */
const wishes = {
  instructions: z.string().nullish(),
  output_modalities: modalities.nullish(),
  modalities: modalities.nullish(),
  tools: z.array(tool).max(128).nullish(),
  tool_choice: toolChoice.nullish(),
  parallel_tool_calls: z.boolean().nullish(),
  max_output_tokens: mostTokens.nullish(),
  max_response_output_tokens: mostTokens.nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  reasoning: z
    .strictObject({ effort: z.enum(['none', 'minimal', 'low', 'medium', 'high', 'xhigh']).nullish() })
    .nullish(),
  include: z.array(z.literal(shownReasoning)).max(1).nullish(),
};

const session = z.strictObject({
  type: z.literal('realtime').nullish(),
  model: modelField.nullish(),
  truncation: z.literal('disabled').nullish(),
  ...wishes,
});
const response = z.strictObject({
  conversation: z.enum(['auto', 'none']).nullish(),
  input: z.array(z.discriminatedUnion('type', [message, functionCall, functionOutput, reference])).nullish(),
  metadata: metadata.nullish(),
  ...wishes,
});

const eventId = z.string().max(512).nullish();

/** What a client may send. */
export const clientEvent = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('session.update'), event_id: eventId, session }),
  z.strictObject({
    type: z.literal('conversation.item.create'),
    event_id: eventId,
    previous_item_id: id.nullish(),
    item: newItem,
  }),
  z.strictObject({ type: z.literal('conversation.item.retrieve'), event_id: eventId, item_id: id }),
  z.strictObject({ type: z.literal('conversation.item.delete'), event_id: eventId, item_id: id }),
  z.strictObject({ type: z.literal('response.create'), event_id: eventId, response: response.nullish() }),
  z.strictObject({ type: z.literal('response.cancel'), event_id: eventId, response_id: id.nullish() }),
]);

export type ClientEvent = z.infer<typeof clientEvent>;
export type SessionUpdate = z.infer<typeof session>;
export type ResponseWishes = z.infer<typeof response>;
export type Tool = z.infer<typeof tool>;
export type ToolChoice = z.infer<typeof toolChoice>;
