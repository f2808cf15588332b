import { z } from 'zod';
import { modelField } from './common.ts';
import { embeddingNvext } from './nvext.ts';
import { tokenIdList } from './token-ids.ts';

/** Most texts of one request. */
const mostTexts = 2048;
const texts = z.union([z.string().min(1), z.array(z.string().min(1)).min(1).max(mostTexts)]);
const shared = {
  model: modelField,
  user: z.string().max(512).nullish(),
  nvext: embeddingNvext.nullish().describe('Routing of the request; annotations have no effect.'),
};

/** The body of POST /v1/score, as vLLM has it. */
export const scoreRequest = z
  .strictObject({
    ...shared,
    text_1: texts.describe('One text for all of `text_2`, or as many as there.'),
    text_2: texts.describe('What is scored against `text_1`.'),
  })
  .meta({ id: 'ScoreRequest' });

export type ScoreRequestBody = z.infer<typeof scoreRequest>;

/** The body of POST /v1/rerank, as Cohere, Jina and vLLM have it. */
export const rerankRequest = z
  .strictObject({
    ...shared,
    query: z.string().min(1),
    documents: z
      .array(z.union([z.string().min(1), z.strictObject({ text: z.string().min(1) })]))
      .min(1)
      .max(mostTexts),
    top_n: z.int().min(0).max(mostTexts).nullish().describe('Only the best this many; 0: all.'),
    return_documents: z.boolean().nullish().describe('Whether documents come back. Default true.'),
  })
  .meta({ id: 'RerankRequest' });

export type RerankRequestBody = z.infer<typeof rerankRequest>;

const tokens = tokenIdList();

/** The body of POST /v1/classify. */
export const classifyRequest = z
  .strictObject({
    ...shared,
    input: z
      .union([texts, tokens, z.array(tokens).min(1).max(mostTexts)])
      .describe('Text, a list of texts, token ids, or a list of lists of token ids.'),
    add_special_tokens: z.boolean().nullish().describe('Default true.'),
    truncate_prompt_tokens: z
      .int()
      .min(-1)
      .max(1_048_576)
      .nullish()
      .describe('Keeps the first this many tokens; -1: what the model takes.'),
  })
  .meta({ id: 'ClassifyRequest' });

const usage = z.object({ prompt_tokens: z.int(), total_tokens: z.int() });
const list = { id: z.string(), object: z.literal('list'), created: z.int(), model: z.string(), usage };

export const scoreList = z
  .object({
    ...list,
    data: z.array(z.object({ index: z.int(), object: z.literal('score'), score: z.number() })),
  })
  .meta({ id: 'ScoreList' });

export const rerankList = z
  .object({
    id: z.string(),
    model: z.string(),
    usage: z.object({ total_tokens: z.int() }),
    results: z.array(
      z.object({
        index: z.int(),
        document: z.object({ text: z.string() }).optional(),
        relevance_score: z.number(),
      }),
    ),
  })
  .meta({ id: 'RerankList' });

export const classification = z
  .object({
    ...list,
    data: z.array(z.object({ index: z.int(), label: z.string(), probs: z.array(z.number()), num_classes: z.int() })),
  })
  .meta({ id: 'ClassificationList' });
