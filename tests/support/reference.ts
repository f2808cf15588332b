import { byteTokens, SyntheticTokens } from '#core/scheduling/synthetic-tokens.ts';
import { modelFree, modelLoad, referenceGreedy } from '#native/llamacpp/index.ts';
import type { Stack } from '../e2e/cases/stack.ts';

/** Words after which the synthetic engine ends on average, by its default setting. */
const MEAN_WORDS = 64;

/** Greedy output of the engine itself, with nothing of the services between; without the token that ends it. */
export async function generateDirectly(stack: Stack, prompt: readonly number[], maxTokens: number): Promise<number[]> {
  return stack.engine === 'mocker' ? synthetic(prompt, maxTokens) : llamacpp(stack.modelFile, prompt, maxTokens);
}

function synthetic(prompt: readonly number[], maxTokens: number): number[] {
  const model = new SyntheticTokens({ seed: null, meanWords: MEAN_WORDS });
  for (const token of prompt) model.push(token);
  const output: number[] = [];
  while (output.length < maxTokens) {
    const token = model.next(true);
    if (token === byteTokens.end) break;
    model.push(token);
    output.push(token);
  }
  return output;
}

async function llamacpp(file: string, prompt: readonly number[], maxTokens: number): Promise<number[]> {
  const model = await modelLoad(file);
  try {
    return [...(await referenceGreedy(model, Uint32Array.from(prompt), maxTokens))];
  } finally {
    modelFree(model);
  }
}
