import { z } from 'zod';
import { modelField } from '../schemas/common.ts';
import { nvext } from '../schemas/nvext.ts';

/** Wherever Anthropic has it. Engines that keep nothing on demand cache every prefix while there is room. */
const cacheControl = z
  .strictObject({ type: z.literal('ephemeral'), ttl: z.union([z.enum(['5m', '1h']), z.int().min(1)]).nullish() })
  .nullish()
  .describe('The prompt stays cached for so long, if its engine keeps prompts on demand; else while there is room.');

const textBlock = z.strictObject({
  type: z.literal('text'),
  text: z.string(),
  cache_control: cacheControl,
  citations: z.array(z.unknown()).nullish(),
});
const base64Source = z.strictObject({
  type: z.literal('base64'),
  media_type: z.string().regex(/^[\w.+-]+\/[\w.+-]+$/, 'must be a media type'),
  data: z.base64().min(1),
});
const urlSource = z.strictObject({ type: z.literal('url'), url: z.string().min(1) });
const imageBlock = z.strictObject({
  type: z.literal('image'),
  source: z.discriminatedUnion('type', [base64Source, urlSource]),
  cache_control: cacheControl,
});
const documentBlock = z
  .strictObject({
    type: z.literal('document'),
    source: z.strictObject({ type: z.literal('text'), media_type: z.literal('text/plain'), data: z.string() }),
    title: z.string().nullish(),
    context: z.string().nullish(),
    citations: z.strictObject({ enabled: z.literal(false).nullish() }).nullish(),
    cache_control: cacheControl,
  })
  .describe('Plain text only.');
const toolResultBlock = z.strictObject({
  type: z.literal('tool_result'),
  tool_use_id: z.string().min(1),
  content: z
    .union([z.string(), z.array(z.discriminatedUnion('type', [textBlock, imageBlock, documentBlock]))])
    .nullish(),
  is_error: z.boolean().nullish(),
  cache_control: cacheControl,
});
const toolUseBlock = z.strictObject({
  type: z.literal('tool_use'),
  id: z.string().min(1),
  name: z.string().min(1).max(128),
  input: z.record(z.string(), z.unknown()),
  caller: z.strictObject({ type: z.literal('direct') }).nullish(),
  cache_control: cacheControl,
});
const thinkingBlock = z.strictObject({
  type: z.literal('thinking'),
  thinking: z.string(),
  signature: z.string().nullish().describe('Not checked.'),
});
const redactedBlock = z.strictObject({ type: z.literal('redacted_thinking'), data: z.string() });

const userBlock = z.discriminatedUnion('type', [textBlock, imageBlock, documentBlock, toolResultBlock]);
const assistantBlock = z.discriminatedUnion('type', [textBlock, toolUseBlock, thinkingBlock, redactedBlock]);

const textOrBlocks = z.union([z.string(), z.array(textBlock)]);
const message = z
  .discriminatedUnion('role', [
    z.strictObject({ role: z.literal('user'), content: z.union([z.string(), z.array(userBlock).min(1)]) }),
    z.strictObject({ role: z.literal('assistant'), content: z.union([z.string(), z.array(assistantBlock)]) }),
    z.strictObject({ role: z.literal('system'), content: textOrBlocks }),
  ])
  .meta({ id: 'AnthropicMessageParam' });

const tool = z
  .strictObject({
    type: z.literal('custom').nullish(),
    name: z.string().min(1).max(128),
    description: z.string().nullish(),
    input_schema: z.record(z.string(), z.unknown()),
    strict: z.boolean().nullish(),
    input_examples: z.array(z.record(z.string(), z.unknown())).nullish().describe('Put into the description.'),
    eager_input_streaming: z.boolean().nullish().describe('Arguments stream as they are generated anyway.'),
    defer_loading: z.literal(false).nullish(),
    allowed_callers: z.array(z.literal('direct')).nullish(),
    cache_control: cacheControl,
  })
  .meta({ id: 'AnthropicTool' });

const parallel = { disable_parallel_tool_use: z.boolean().nullish() };
const toolChoice = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('auto'), ...parallel }),
  z.strictObject({ type: z.literal('any'), ...parallel }),
  z.strictObject({ type: z.literal('tool'), name: z.string().min(1), ...parallel }),
  z.strictObject({ type: z.literal('none') }),
]);

const display = z.enum(['summarized', 'omitted']).nullish().describe('omitted: reasoning is left out of the answer.');
const thinking = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('enabled'),
    budget_tokens: z.int().min(1).nullish().describe('Advice; only max_tokens bounds reasoning.'),
    display,
  }),
  z.strictObject({ type: z.literal('disabled') }),
  z.strictObject({ type: z.literal('adaptive'), display }),
]);

const outputConfig = z.strictObject({
  effort: z.enum(['low', 'medium', 'high', 'xhigh', 'max']).nullish(),
  format: z
    .strictObject({ type: z.literal('json_schema'), schema: z.record(z.string(), z.unknown()) })
    .nullish()
    .describe('Only if the model promises JSON Schemas.'),
});

/** What a request for an answer and one for a count share. */
const promptFields = {
  model: modelField,
  messages: z.array(message).min(1),
  system: textOrBlocks.nullish(),
  tools: z.array(tool).max(1536).nullish(),
  tool_choice: toolChoice.nullish(),
  thinking: thinking.nullish(),
  output_config: outputConfig.nullish(),
  cache_control: cacheControl,
  context_management: z
    .strictObject({
      edits: z.array(z.strictObject({ type: z.literal('clear_thinking_20251015'), keep: z.literal('all') })).nullish(),
    })
    .nullish()
    .describe('Nothing is cleared: only keep = "all".'),
} as const;

/** The body of POST /v1/messages. */
export const messagesRequest = z
  .strictObject({
    ...promptFields,
    max_tokens: z.int().min(1).max(1_048_576),
    stop_sequences: z.array(z.string().min(1)).max(32).nullish(),
    temperature: z.number().min(0).max(2).nullish(),
    top_p: z.number().min(0).max(1).nullish(),
    top_k: z.int().min(-1).max(0x7fff_ffff).nullish(),
    stream: z.boolean().nullish(),
    metadata: z
      .strictObject({ user_id: z.string().max(4096).nullish() })
      .nullish()
      .describe('Attached to the trace.'),
    service_tier: z.enum(['auto', 'standard_only']).nullish(),
    speed: z.literal('standard').nullish(),
    container: z.null().optional(),
    nvext: nvext.nullish(),
  })
  .meta({ id: 'MessagesRequest' });

/** The body of POST /v1/messages/count_tokens. */
export const countTokensRequest = z.strictObject(promptFields).meta({ id: 'MessagesCountTokensRequest' });

export type MessagesRequestBody = z.infer<typeof messagesRequest>;
export type CountTokensRequestBody = z.infer<typeof countTokensRequest>;
export type UserBlock = z.infer<typeof userBlock>;
export type AssistantBlock = z.infer<typeof assistantBlock>;
