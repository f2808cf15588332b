import { z } from 'zod';
import { nvext } from './nvext.ts';

/** Most output tokens that a request may name. */
const mostTokens = 1_048_576;
const tokenId = z.int().min(0).max(0xffff_ffff);
/** JSON numbers are exact up to here; larger seeds are refused instead of rounded. */
const seed = z
  .int()
  .describe('Equal seeds give equal output for equal requests. Any integer from -(2^53-1) to 2^53-1.');

export const stopEntry = z.union([z.string().min(1), tokenId]);

export const stopField = z
  .union([z.string().min(1), z.array(stopEntry).max(32)])
  .nullish()
  .describe('Up to 32 strings that end generation; integers are token ids. null: none.');

export const streamOptions = z
  .strictObject({
    include_usage: z.boolean().nullish().describe('A last chunk with the usage of the whole request.'),
    continuous_usage_stats: z.boolean().nullish().describe('Usage so far in every chunk.'),
    include_obfuscation: z.literal(false).nullish().describe('Padding of chunks is not offered: false only.'),
  })
  .nullish()
  .describe('Only with stream = true.');

export const modelField = z.string().min(1).max(512).describe('Name or alias of a model, or of a loaded adapter.');

/** Sampling and stopping that chat and completions share. */
export const generationFields = {
  model: modelField,
  temperature: z.number().min(0).max(2).nullish().describe('0: greedy. Default 1.'),
  top_p: z.number().min(0).max(1).nullish().describe('Nucleus. Default 1 (off).'),
  top_k: z.int().min(-1).max(0x7fff_ffff).nullish().describe('Only the k likeliest tokens; 0 or -1: all.'),
  min_p: z.number().min(0).max(1).nullish().describe('Only tokens at least this fraction as likely as the likeliest.'),
  frequency_penalty: z.number().min(-2).max(2).nullish(),
  presence_penalty: z.number().min(-2).max(2).nullish(),
  repetition_penalty: z.number().gt(0).max(2).nullish(),
  logit_bias: z
    .record(z.string().regex(/^\d{1,10}$/, 'must be a token id'), z.number().min(-100).max(100))
    .nullish()
    .describe('Token id to a number from -100 to 100 that is added to its logit.'),
  seed: seed.nullish(),
  n: z.int().min(1).max(128).nullish().describe('Number of choices; more than one needs temperature > 0.'),
  max_tokens: z
    .int()
    .min(1)
    .max(mostTokens)
    .nullish()
    .describe('Most output tokens. Default: what the context leaves.'),
  min_tokens: z.int().min(0).max(mostTokens).nullish().describe('No stop before this many output tokens.'),
  stop: stopField,
  stop_token_ids: z.array(tokenId).max(32).nullish().describe('Tokens that end generation.'),
  include_stop_str_in_output: z.boolean().nullish().describe('Whether the stop string stays in the text.'),
  ignore_eos: z.boolean().nullish().describe("Whether the model's end-of-sequence tokens are ordinary tokens."),
  skip_special_tokens: z.boolean().nullish().describe('Whether special tokens are left out of the text. Default true.'),
  stream: z.boolean().nullish(),
  stream_options: streamOptions,
  guided_json: z
    .union([z.record(z.string(), z.unknown()), z.string()])
    .nullish()
    .describe('JSON Schema, if the model promises it.'),
  guided_regex: z.string().min(1).nullish().describe('Regular expression, if the model promises it.'),
  guided_grammar: z
    .string()
    .min(1)
    .nullish()
    .describe("Grammar in the engine's syntax (GBNF for llama.cpp), if the model promises it."),
  guided_choice: z
    .array(z.string().min(1))
    .min(1)
    .nullish()
    .describe('The output is one of these, if the model promises it.'),
  structural_tag: z
    .union([z.record(z.string(), z.unknown()), z.string().min(1)])
    .nullish()
    .describe(
      "Free text with constrained parts, as XGrammar's structural tags describe it, if the model promises them.",
    ),
  prompt_logprobs: z
    .int()
    .min(0)
    .max(20)
    .nullish()
    .describe("Log-probabilities of the prompt's tokens, if the model promises them."),
  return_tokens_as_token_ids: z.boolean().nullish().describe('Log-probability tokens as "token_id:<id>".'),
  user: z.string().max(512).nullish().describe("The caller's user; attached to the trace."),
  cache_salt: z.string().max(512).nullish().describe('Separates prefix caches, for example of tenants.'),
  nvext: nvext.nullish(),
} as const;

/** Fields of the public APIs that this gateway knows and does not offer, with what is said about them. */
export const refusedFields: Readonly<Record<string, string>> = {
  audio: 'audio output is not offered',
  prediction: 'predicted outputs are not offered',
  web_search_options: 'web search is not offered',
  mm_processor_kwargs: 'media processing options are not offered',
  media_io_kwargs: 'media reading options are not offered',
  guided_decoding_backend: 'the engine decides how it constrains output',
  guided_whitespace_pattern: 'whitespace patterns are not offered',
  thinking_token_budget: 'thinking budgets are not offered',
  allowed_token_ids: 'token allow lists are not offered; use logit_bias',
  bad_words_token_ids: 'token deny lists are not offered; use logit_bias',
  logprob_token_ids: 'log-probabilities of chosen tokens are not offered',
  prompt_embeds: 'prompts as embeddings are not offered',
  suffix: 'insertion before a suffix is not offered',
};
