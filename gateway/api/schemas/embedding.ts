import { z } from 'zod';
import { modelField } from './common.ts';
import { embeddingNvext } from './nvext.ts';
import { tokenIdList } from './token-ids.ts';

const tokens = tokenIdList();

/** The body of POST /v1/embeddings. */
export const embeddingRequest = z
  .strictObject({
    model: modelField,
    input: z
      .union([z.string().min(1), tokens, z.array(z.string().min(1)).min(1).max(2048), z.array(tokens).min(1).max(2048)])
      .describe('Text, a list of texts, token ids, or a list of lists of token ids.'),
    encoding_format: z
      .enum(['float', 'base64'])
      .nullish()
      .describe('base64: little-endian 32-bit floats. Default float.'),
    dimensions: z
      .int()
      .min(1)
      .max(65536)
      .nullish()
      .describe('Keeps only this many components, scaled to length 1 again.'),
    user: z.string().max(512).nullish(),
    add_special_tokens: z
      .boolean()
      .nullish()
      .describe("Whether the model's special tokens are added to text. Default true."),
    truncate_prompt_tokens: z
      .int()
      .min(-1)
      .max(1_048_576)
      .nullish()
      .describe('Keeps the first this many tokens; -1: what the model takes.'),
    nvext: embeddingNvext.nullish().describe('Routing of the request; annotations have no effect.'),
  })
  .meta({ id: 'EmbeddingRequest' });

export type EmbeddingRequestBody = z.infer<typeof embeddingRequest>;
