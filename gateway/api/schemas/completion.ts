import { z } from 'zod';
import { generationFields } from './common.ts';
import { tokenIdList } from './token-ids.ts';

const tokens = tokenIdList();

export const prompt = z
  .union([z.string(), tokens, z.array(z.string()).min(1).max(128), z.array(tokens).min(1).max(128)])
  .describe('Text, a list of texts, token ids, or a list of lists of token ids.');

/** The body of POST /v1/completions. */
export const completionRequest = z
  .strictObject({
    ...generationFields,
    prompt,
    best_of: z
      .int()
      .min(0)
      .max(20)
      .nullish()
      .describe('Only n: choosing among more candidates than are returned is not offered.'),
    echo: z.boolean().nullish().describe('Whether the prompt is repeated in front of the text.'),
    logprobs: z.int().min(0).max(5).nullish().describe('Alternatives at each place; 0: only the chosen token.'),
    add_special_tokens: z
      .boolean()
      .nullish()
      .describe("Whether the model's special tokens are put in front of text. Default true."),
  })
  .meta({ id: 'CompletionRequest' });

export type CompletionRequestBody = z.infer<typeof completionRequest>;
