import type { StatorError } from '#lib/errors/errors.ts';
import { meter } from '../tenants/caller.ts';
import type { Choice } from './choice.ts';
import { Generation, type GenerationObserver } from './generation.ts';
import type { PipelineParts } from './parts.ts';
import { createChoices, preparePrompt } from './prepare.ts';
import type { GenerationRequest } from './request.ts';
import { startTimes } from './times.ts';

/** The prompts of one request, prepared and running. */
export interface Run {
  readonly generations: readonly Generation[];
  cancel(error?: StatorError): void;
}

/**
 * Prepares every prompt of a request and submits their choices, numbered over all prompts in order. Throws StatorError,
 * with nothing left running, if a prompt is refused or no worker takes it. `explain`: decisions come with every worker's cost.
 */
export async function runRequests(
  parts: PipelineParts,
  asked: readonly GenerationRequest[],
  observer: GenerationObserver,
  o: { receivedMs: number; signal: AbortSignal; explain?: boolean },
): Promise<Run> {
  const requests = asked.map((request) => parts.tenants.apply(request));
  const prompts = await Promise.all(requests.map((request) => preparePrompt(parts, request, o.signal)));
  o.signal.throwIfAborted();
  const preprocessedMs = performance.now();
  let firstIndex = 0;
  const generations = requests.map((request, index) => {
    const prompt = prompts[index];
    if (prompt === undefined) throw new Error('a prompt is missing');
    const choices: Choice[] = createChoices(request, prompt, firstIndex);
    firstIndex += choices.length;
    const times = startTimes(o.receivedMs, preprocessedMs);
    return new Generation(parts, { request, prompt, choices, observer, times, explain: o.explain ?? false });
  });
  const [first] = requests;
  if (first !== undefined)
    meter(first.model.entry.name, () => generations.reduce((sum, one) => sum + tokensOf(one), 0));
  const cancel = (error?: StatorError): void => {
    for (const generation of generations) generation.cancel(error);
  };
  const onAbort = (): void => cancel();
  o.signal.addEventListener('abort', onAbort, { once: true });
  try {
    await Promise.all(generations.map((generation) => generation.start()));
  } catch (thrown) {
    cancel();
    throw thrown;
  }
  return { generations, cancel };
}

/** What a generation costs its caller: the prompt once, and the output of every choice. */
export function tokensOf({ prompt, outputTokens }: Generation): number {
  return prompt.tokenIds.length + outputTokens;
}
