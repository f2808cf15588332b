import type { Generation } from '../pipeline/generation.ts';

/** What a whole request cost. */
export interface UsageTotals {
  readonly promptTokens: number;
  readonly outputTokens: number;
  readonly cachedTokens: number;
  /** Of the output tokens, those of reasoning. */
  readonly reasoningTokens: number;
}

/** Sums over the prompts of a request; a prompt counts once, however many choices it has. */
export function usageOf(generations: readonly Generation[]): UsageTotals {
  let promptTokens = 0;
  let outputTokens = 0;
  let cachedTokens = 0;
  let reasoningTokens = 0;
  for (const generation of generations) {
    promptTokens += generation.prompt.tokenIds.length;
    outputTokens += generation.outputTokens;
    cachedTokens += generation.cachedTokens;
    for (const { parser } of generation.choices) reasoningTokens += parser?.reasoningTokens ?? 0;
  }
  return { promptTokens, outputTokens, cachedTokens, reasoningTokens };
}

/** `usage` in OpenAI's shape, as JSON. */
export function renderUsage(usage: UsageTotals): string {
  const { promptTokens, outputTokens, cachedTokens, reasoningTokens } = usage;
  return (
    `{"prompt_tokens":${promptTokens},"completion_tokens":${outputTokens},"total_tokens":${promptTokens + outputTokens},` +
    `"prompt_tokens_details":{"cached_tokens":${cachedTokens}},"completion_tokens_details":{"reasoning_tokens":${reasoningTokens}}}`
  );
}
