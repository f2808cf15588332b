import { z } from 'zod';
import { generationFields } from './common.ts';
import { message, tool } from './message.ts';

const templateArgs = z.record(z.string(), z.unknown()).nullish();

export const responseFormat = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('text') }),
  z.strictObject({ type: z.literal('json_object') }),
  z.strictObject({
    type: z.literal('json_schema'),
    json_schema: z.strictObject({
      name: z.string().min(1).max(64),
      description: z.string().nullish(),
      schema: z.record(z.string(), z.unknown()).nullish(),
      strict: z.boolean().nullish(),
    }),
  }),
  z.strictObject({
    type: z.literal('structural_tag'),
    format: z.record(z.string(), z.unknown()).optional(),
    structures: z.array(z.record(z.string(), z.unknown())).optional(),
    triggers: z.array(z.string()).optional(),
  }),
]);

const namedTool = z.strictObject({
  type: z.literal('function'),
  function: z.strictObject({ name: z.string().min(1) }),
});

const toolChoice = z.union([
  z.enum(['none', 'auto', 'required']),
  z.discriminatedUnion('type', [
    namedTool,
    z.strictObject({
      type: z.literal('allowed_tools'),
      allowed_tools: z.strictObject({ mode: z.enum(['auto', 'required']), tools: z.array(namedTool).min(1) }),
    }),
  ]),
]);

const thinking = z.union([z.boolean(), z.strictObject({ type: z.enum(['enabled', 'disabled', 'adaptive']) })]);

/** The body of POST /v1/chat/completions. */
export const chatRequest = z
  .strictObject({
    ...generationFields,
    messages: z.array(message).min(1),
    max_completion_tokens: generationFields.max_tokens,
    logprobs: z.boolean().nullish().describe('Log-probabilities of the output tokens.'),
    top_logprobs: z.int().min(0).max(20).nullish().describe('Alternatives at each place; needs logprobs = true.'),
    response_format: responseFormat.nullish().describe('Kinds other than text only if the model promises them.'),
    tools: z.array(tool).max(1536).nullish().describe('Functions that the model may call.'),
    tool_choice: toolChoice
      .nullish()
      .describe(
        'auto (default with tools): the model decides; none: no calls; required or a function: calls are forced, if the model promises JSON Schemas.',
      ),
    parallel_tool_calls: z.boolean().nullish().describe('Whether an answer may hold several calls. Default true.'),
    include_reasoning: z.boolean().nullish().describe('Whether answers show reasoning. Default true.'),
    separate_reasoning: z
      .boolean()
      .nullish()
      .describe(
        'Whether reasoning is split from the content. false: it stays there as the model writes it. Default true.',
      ),
    reasoning_effort: z.enum(['none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max']).nullish(),
    thinking: thinking.nullish(),
    chat_template_args: templateArgs.describe('Further variables of the chat template.'),
    chat_template_kwargs: templateArgs.describe('Another name of chat_template_args.'),
    add_generation_prompt: z
      .boolean()
      .nullish()
      .describe("Whether the template opens the assistant's turn. Default true."),
    continue_final_message: z
      .boolean()
      .nullish()
      .describe('Whether the last message is continued; needs add_generation_prompt = false.'),
    modalities: z.array(z.literal('text')).max(1).nullish(),
    service_tier: z.enum(['auto', 'default']).nullish(),
    store: z.literal(false).nullish().describe('Answers are not stored: false only.'),
    metadata: z.record(z.string().max(64), z.string().max(512)).nullish().describe('Attached to the trace.'),
    prompt_cache_key: z.string().max(512).nullish().describe('Requests with the same key prefer the same worker.'),
    detokenize: z.literal(true).nullish(),
  })
  .meta({ id: 'ChatCompletionRequest' });

export type ChatRequestBody = z.infer<typeof chatRequest>;
