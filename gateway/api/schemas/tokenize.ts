import { z } from 'zod';
import { modelField } from './common.ts';
import { message, tool } from './message.ts';
import { tokenIdList } from './token-ids.ts';

/** The body of POST /tokenize, as vLLM has it. */
export const tokenizeRequest = z
  .strictObject({
    model: modelField,
    prompt: z.string().nullish().describe('Text; or `messages`.'),
    messages: z.array(message).min(1).nullish().describe('A conversation that the chat template renders; or `prompt`.'),
    tools: z.array(tool).max(1536).nullish().describe('Only with `messages`.'),
    add_generation_prompt: z.boolean().nullish().describe('Only with `messages`. Default true.'),
    continue_final_message: z.boolean().nullish().describe('Only with `messages`.'),
    chat_template_kwargs: z.record(z.string(), z.unknown()).nullish().describe('Only with `messages`.'),
    add_special_tokens: z.boolean().nullish().describe('Only with `prompt`. Default true.'),
    return_token_strs: z.boolean().nullish().describe("Whether each token's text comes too."),
  })
  .meta({ id: 'TokenizeRequest' });

export type TokenizeRequestBody = z.infer<typeof tokenizeRequest>;

export const tokenizeAnswer = z
  .object({
    count: z.int(),
    max_model_len: z.int(),
    tokens: z.array(z.int()),
    token_strs: z.array(z.string()).nullable(),
  })
  .meta({ id: 'Tokens' });

/** The body of POST /detokenize. */
export const detokenizeRequest = z
  .strictObject({
    model: modelField,
    tokens: tokenIdList(0),
    skip_special_tokens: z.boolean().nullish().describe('Whether special tokens are left out. Default false.'),
  })
  .meta({ id: 'DetokenizeRequest' });

export const detokenizeAnswer = z.object({ prompt: z.string() }).meta({ id: 'DetokenizedText' });
