import { z } from 'zod';
import { answerNvext } from './answer-nvext.ts';

export const errorBody = z
  .object({
    error: z.object({
      message: z.string(),
      type: z.string(),
      param: z.string().nullable().describe('Field at fault, as the client wrote it.'),
      code: z.string().describe('Stable code of the error table.'),
      details: z.record(z.string(), z.unknown()).optional(),
    }),
  })
  .meta({ id: 'Error' });

const usage = z
  .object({
    prompt_tokens: z.int(),
    completion_tokens: z.int(),
    total_tokens: z.int(),
    prompt_tokens_details: z.object({ cached_tokens: z.int() }),
    completion_tokens_details: z.object({ reasoning_tokens: z.int() }),
  })
  .meta({ id: 'Usage' });

const finishReason = z.enum(['stop', 'length', 'tool_calls']);

const reasoningFields = {
  reasoning_content: z.string().optional().describe('Reasoning; the settings decide its name.'),
  reasoning: z.string().optional().describe('The same.'),
};
const calledFunction = z.object({ name: z.string(), arguments: z.string().describe('JSON text.') });
const answeredCall = z.object({ id: z.string(), type: z.literal('function'), function: calledFunction });
const callDelta = z.object({
  index: z.int(),
  id: z.string().optional(),
  type: z.literal('function').optional(),
  function: z.object({ name: z.string().optional(), arguments: z.string() }),
});

const chatToken = z.object({ token: z.string(), logprob: z.number(), bytes: z.array(z.int()) });
const chatLogprobs = z
  .object({ content: z.array(chatToken.extend({ top_logprobs: z.array(chatToken) })), refusal: z.null() })
  .nullable();

const completionLogprobs = z
  .object({
    tokens: z.array(z.string()),
    token_logprobs: z.array(z.number().nullable()).describe('null: the first token of a repeated prompt.'),
    top_logprobs: z.array(z.record(z.string(), z.number()).nullable()),
    text_offset: z.array(z.int()),
  })
  .nullable();

const head = { id: z.string(), created: z.int(), model: z.string(), system_fingerprint: z.string() };
const nvext = answerNvext.optional();
const promptLogprobs = z.array(z.unknown()).nullable().optional();

export const chatCompletion = z
  .object({
    ...head,
    object: z.literal('chat.completion'),
    choices: z.array(
      z.object({
        index: z.int(),
        message: z.object({
          role: z.literal('assistant'),
          content: z.string().nullable().describe('null: there are only calls.'),
          ...reasoningFields,
          tool_calls: z.array(answeredCall).optional(),
          refusal: z.null(),
        }),
        logprobs: chatLogprobs,
        finish_reason: finishReason,
      }),
    ),
    usage,
    prompt_logprobs: promptLogprobs,
    nvext,
  })
  .meta({ id: 'ChatCompletion' });

export const chatChunk = z
  .object({
    ...head,
    object: z.literal('chat.completion.chunk'),
    choices: z.array(
      z.object({
        index: z.int(),
        delta: z.object({
          role: z.literal('assistant').optional(),
          content: z.string().optional(),
          ...reasoningFields,
          tool_calls: z.array(callDelta).optional(),
        }),
        logprobs: chatLogprobs,
        finish_reason: finishReason.nullable(),
      }),
    ),
    usage: usage.nullable().optional(),
    nvext,
  })
  .meta({ id: 'ChatCompletionChunk' });

export const completion = z
  .object({
    ...head,
    object: z.literal('text_completion'),
    choices: z.array(
      z.object({
        index: z.int(),
        text: z.string(),
        logprobs: completionLogprobs,
        finish_reason: z.enum(['stop', 'length']).nullable().describe('null: the stream goes on.'),
        prompt_logprobs: promptLogprobs,
      }),
    ),
    usage: usage.nullable().optional(),
    nvext,
  })
  .meta({ id: 'Completion' });

export const embeddingList = z
  .object({
    object: z.literal('list'),
    model: z.string(),
    data: z.array(
      z.object({
        object: z.literal('embedding'),
        index: z.int(),
        embedding: z.union([z.array(z.number()), z.string()]),
      }),
    ),
    usage: z.object({ prompt_tokens: z.int(), total_tokens: z.int() }),
  })
  .meta({ id: 'EmbeddingList' });

export const model = z
  .object({
    id: z.string(),
    object: z.literal('model'),
    created: z.int(),
    owned_by: z.string(),
    context_window: z.int().nullable(),
    max_output_tokens: z.int().nullable(),
    aliases: z.array(z.string()),
    parent: z.string().optional().describe('Adapters: the model they belong to.'),
  })
  .meta({ id: 'Model' });

export const modelList = z.object({ object: z.literal('list'), data: z.array(model) }).meta({ id: 'ModelList' });

export const readiness = z
  .object({
    model: z.string(),
    ready: z.boolean(),
    reason: z.string().optional(),
    worker_types: z.record(z.string(), z.int()),
    needs: z.array(z.array(z.string())),
    present: z.array(z.string()),
    missing_worker_types: z.array(z.string()),
  })
  .meta({ id: 'ModelReadiness' });

export const healthBody = z
  .object({
    status: z.enum(['healthy', 'degraded', 'not_ready']),
    stage: z.literal('draining').optional(),
    degradations: z.array(z.object({ kind: z.string(), message: z.string() })),
    models: z
      .array(z.object({ id: z.string(), ready: z.boolean() }))
      .optional()
      .describe('Only for administrators where callers need keys.'),
    instances: z.array(z.record(z.string(), z.unknown())).optional().describe('The same.'),
  })
  .meta({ id: 'Health' });

export const liveBody = z.object({ status: z.literal('live') }).meta({ id: 'Live' });
