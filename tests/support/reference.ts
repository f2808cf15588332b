import { SyntheticModel } from '#core/scheduling/synthetic-token.ts';
import { modelFree, modelLoad, referenceGreedy } from '#native/llamacpp/index.ts';
import { defaultMockerOptions } from '#services/workers/mocker/options.ts';
import type { Stack } from '../e2e/cases/stack.ts';

/** Greedy output of the engine itself, with nothing of the services between; without the token that ends it. */
export async function generateDirectly(stack: Stack, prompt: readonly number[], maxTokens: number): Promise<number[]> {
  return stack.engine === 'mocker' ? synthetic(prompt, maxTokens) : llamacpp(stack.modelFile, prompt, maxTokens);
}

function synthetic(prompt: readonly number[], maxTokens: number): number[] {
  const { meanOutputTokens } = defaultMockerOptions;
  const model = new SyntheticModel({ seed: 0n, adapter: '', meanOutputTokens });
  for (const token of prompt) model.push(token);
  const output: number[] = [];
  while (output.length < maxTokens && !model.ends) {
    const token = model.next();
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
