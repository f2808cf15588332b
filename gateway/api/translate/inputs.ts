import type { ResolvedModel } from '../../models/catalog.ts';
import type { EmbedPrompt } from '../../pipeline/embed.ts';
import { checkTokenIds } from './common.ts';

type Input = string | readonly (string | number | readonly number[])[];

function listOf(input: Input): EmbedPrompt[] {
  if (typeof input === 'string') return [{ text: input }];
  if (typeof input[0] === 'number') return [{ tokenIds: input.filter((item) => typeof item === 'number') }];
  return input.flatMap((item): EmbedPrompt[] => {
    if (typeof item === 'number') return [];
    return [typeof item === 'string' ? { text: item } : { tokenIds: item }];
  });
}

/** `input` of a request that generates nothing, as texts or token ids that are in the vocabulary. */
export function inputsOf(input: Input, model: ResolvedModel): EmbedPrompt[] {
  const prompts = listOf(input);
  for (const [index, prompt] of prompts.entries()) {
    if ('tokenIds' in prompt) checkTokenIds(prompt.tokenIds, prompts.length === 1 ? 'input' : `input[${index}]`, model);
  }
  return prompts;
}
