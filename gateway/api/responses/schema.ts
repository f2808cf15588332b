import { z } from 'zod';
import { modelField } from '../schemas/common.ts';
import { nvext } from '../schemas/nvext.ts';
import { responseTool, responseToolChoice } from './tools.ts';

const status = z.enum(['in_progress', 'completed', 'incomplete']).nullish();
const itemId = z.string().max(128).nullish();

const inputText = z.strictObject({ type: z.literal('input_text'), text: z.string() });
const inputImage = z.strictObject({
  type: z.literal('input_image'),
  image_url: z.string().min(1).nullish(),
  detail: z.enum(['auto', 'low', 'high']).nullish(),
  file_id: z.null().optional(),
});
const outputText = z.strictObject({
  type: z.literal('output_text'),
  text: z.string(),
  annotations: z.array(z.unknown()).nullish(),
  logprobs: z.array(z.unknown()).nullish(),
});
const refusal = z.strictObject({ type: z.literal('refusal'), refusal: z.string() });
const part = z.discriminatedUnion('type', [inputText, inputImage, outputText, refusal]);

const message = z.strictObject({
  type: z.literal('message').describe('May be left out.'),
  role: z.enum(['user', 'assistant', 'system', 'developer']),
  content: z.union([z.string(), z.array(part)]),
  id: itemId,
  status,
  phase: z.string().max(64).nullish(),
});
const functionCall = z.strictObject({
  type: z.literal('function_call'),
  call_id: z.string().min(1),
  name: z.string().min(1).max(128),
  arguments: z.string(),
  id: itemId,
  status,
});
const functionOutput = z.strictObject({
  type: z.literal('function_call_output'),
  call_id: z.string().min(1),
  output: z.union([z.string(), z.array(inputText).min(1)]),
  id: itemId,
  status,
});
const customCall = z.strictObject({
  type: z.literal('custom_tool_call'),
  call_id: z.string().min(1),
  name: z.string().min(1).max(128),
  input: z.string(),
  id: itemId,
  status,
});
const customOutput = functionOutput.extend({ type: z.literal('custom_tool_call_output') });
const reasoning = z.strictObject({
  type: z.literal('reasoning'),
  id: itemId,
  summary: z.array(z.strictObject({ type: z.literal('summary_text'), text: z.string() })),
  content: z.array(z.strictObject({ type: z.literal('reasoning_text'), text: z.string() })).nullish(),
  encrypted_content: z.string().nullish().describe('As an earlier answer gave it.'),
  status,
});

const reference = z.strictObject({
  type: z.literal('item_reference').describe('May be left out.'),
  id: z.string().min(1).max(128),
});

const items = [message, functionCall, functionOutput, customCall, customOutput, reasoning] as const;
export const inputItem = z.discriminatedUnion('type', [...items]);
const requestItem = z.discriminatedUnion('type', [...items, reference]);

const textFormat = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('text') }),
  z.strictObject({ type: z.literal('json_object') }),
  z.strictObject({
    type: z.literal('json_schema'),
    name: z.string().min(1).max(64),
    description: z.string().nullish(),
    schema: z.record(z.string(), z.unknown()),
    strict: z.boolean().nullish(),
  }),
]);

const unit = z.number().min(0);

/** The body of POST /v1/responses. */
export const responsesRequest = z
  .strictObject({
    model: modelField,
    input: z
      .union([z.string(), z.array(requestItem).min(1)])
      .describe('Text, or the items of a conversation, also as references to output items of stored responses.'),
    instructions: z.string().nullish().describe('Put in front; not carried over to later responses.'),
    previous_response_id: z.string().min(1).max(128).nullish().describe('A stored response that this one follows.'),
    store: z.boolean().nullish().describe('Whether the response can be asked for later. Default true.'),
    background: z.boolean().nullish().describe('Answers at once; the response is asked for later.'),
    stream: z.boolean().nullish().describe('Not together with background.'),
    stream_options: z.strictObject({ include_obfuscation: z.literal(false).nullish() }).nullish(),
    max_output_tokens: z.int().min(1).max(1_048_576).nullish(),
    temperature: unit.max(2).nullish(),
    top_p: unit.max(1).nullish(),
    tools: z.array(responseTool).max(1536).nullish().describe('Functions, and tools that take text.'),
    tool_choice: responseToolChoice.nullish(),
    parallel_tool_calls: z.boolean().nullish(),
    text: z
      .strictObject({ format: textFormat.nullish(), verbosity: z.literal('medium').nullish() })
      .nullish()
      .describe('Formats other than text only if the model promises them.'),
    reasoning: z
      .strictObject({
        effort: z.enum(['none', 'minimal', 'low', 'medium', 'high', 'xhigh']).nullish(),
        summary: z
          .enum(['auto', 'concise', 'detailed'])
          .nullish()
          .describe('Reasoning comes as its own summary, whole.'),
      })
      .nullish(),
    include: z
      .array(z.enum(['reasoning.encrypted_content']))
      .max(8)
      .nullish(),
    metadata: z.record(z.string().max(64), z.string().max(512)).nullish().describe('Kept with the response.'),
    client_metadata: z
      .record(z.string().max(64), z.string().max(4096))
      .nullish()
      .describe('What clients tell of themselves; without effect.'),
    truncation: z.literal('disabled').nullish().describe('Nothing is cut off.'),
    service_tier: z.enum(['auto', 'default']).nullish(),
    user: z.string().max(512).nullish(),
    safety_identifier: z.string().max(512).nullish().describe('Attached to the trace, like user.'),
    prompt_cache_key: z.string().max(512).nullish().describe('Requests with the same key prefer the same worker.'),
    top_logprobs: z.literal(0).nullish(),
    nvext: nvext.nullish(),
  })
  .meta({ id: 'ResponsesRequest' });

/** The body of POST /v1/responses/input_tokens: what says how the prompt reads. */
export const inputTokensRequest = responsesRequest
  .pick({
    model: true,
    input: true,
    instructions: true,
    previous_response_id: true,
    tools: true,
    tool_choice: true,
    parallel_tool_calls: true,
    text: true,
    reasoning: true,
    truncation: true,
  })
  .meta({ id: 'ResponseInputTokensRequest' });

export type ResponsesRequestBody = z.infer<typeof responsesRequest>;
export type InputItem = z.infer<typeof inputItem>;
export type RequestItem = z.infer<typeof requestItem>;
/** A body whose references were replaced by what they refer to. */
export type ResolvedBody<Body> = Omit<Body, 'input'> & { readonly input: string | readonly InputItem[] };
export type MessageItem = z.infer<typeof message>;

/** The body with the type of messages and references that leave it out, as they may. */
export function withItemTypes(body: unknown): unknown {
  if (typeof body !== 'object' || body === null || !('input' in body) || !Array.isArray(body.input)) return body;
  const input = body.input.map((item: unknown) => {
    if (typeof item !== 'object' || item === null || ('type' in item && item.type !== null)) return item;
    if ('role' in item) return { ...item, type: 'message' };
    return 'id' in item ? { ...item, type: 'item_reference' } : item;
  });
  return { ...body, input };
}
