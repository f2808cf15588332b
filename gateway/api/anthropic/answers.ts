import { z } from 'zod';

export const anthropicError = z
  .object({
    type: z.literal('error'),
    error: z.object({ type: z.string(), message: z.string() }),
    request_id: z.string(),
  })
  .meta({ id: 'AnthropicError' });

const usage = z.object({
  input_tokens: z.int().describe('Without what was cached.'),
  cache_creation_input_tokens: z.int(),
  cache_read_input_tokens: z.int(),
  output_tokens: z.int(),
});

const block = z.discriminatedUnion('type', [
  z.object({ type: z.literal('text'), text: z.string(), citations: z.null() }),
  z.object({ type: z.literal('thinking'), thinking: z.string(), signature: z.string() }),
  z.object({
    type: z.literal('tool_use'),
    id: z.string(),
    name: z.string(),
    input: z.record(z.string(), z.unknown()),
  }),
]);

const stopReason = z.enum(['end_turn', 'max_tokens', 'stop_sequence', 'tool_use']).nullable();

export const anthropicMessage = z
  .object({
    id: z.string(),
    type: z.literal('message'),
    role: z.literal('assistant'),
    model: z.string(),
    content: z.array(block),
    stop_reason: stopReason,
    stop_sequence: z.string().nullable(),
    usage,
  })
  .meta({ id: 'AnthropicMessage' });

const delta = z.discriminatedUnion('type', [
  z.object({ type: z.literal('text_delta'), text: z.string() }),
  z.object({ type: z.literal('thinking_delta'), thinking: z.string() }),
  z.object({ type: z.literal('signature_delta'), signature: z.string() }),
  z.object({ type: z.literal('input_json_delta'), partial_json: z.string() }),
]);

export const anthropicEvent = z
  .discriminatedUnion('type', [
    z.object({ type: z.literal('message_start'), message: anthropicMessage }),
    z.object({ type: z.literal('content_block_start'), index: z.int(), content_block: block }),
    z.object({ type: z.literal('content_block_delta'), index: z.int(), delta }),
    z.object({ type: z.literal('content_block_stop'), index: z.int() }),
    z.object({
      type: z.literal('message_delta'),
      delta: z.object({ stop_reason: stopReason, stop_sequence: z.string().nullable() }),
      usage,
    }),
    z.object({ type: z.literal('message_stop') }),
    z.object({ type: z.literal('ping') }),
    anthropicError,
  ])
  .meta({ id: 'AnthropicEvent' });

export const tokenCount = z.object({ input_tokens: z.int() }).meta({ id: 'MessageTokensCount' });

export const anthropicModel = z
  .object({
    type: z.literal('model'),
    id: z.string(),
    display_name: z.string(),
    created_at: z.string(),
    max_input_tokens: z.int().nullable(),
    max_tokens: z.int().nullable(),
  })
  .meta({ id: 'AnthropicModel' });

export const anthropicModelList = z
  .object({
    data: z.array(anthropicModel),
    has_more: z.boolean(),
    first_id: z.string().nullable(),
    last_id: z.string().nullable(),
  })
  .meta({ id: 'AnthropicModelList' });
