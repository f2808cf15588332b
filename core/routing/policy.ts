import type { CandidateTable } from './candidate-table.ts';
import type { CostSettings } from './cost-settings.ts';

/** A request, as far as its cost goes. */
export interface RoutedPrompt {
  readonly promptTokens: number;
  readonly blockSize: number;
  /** Full blocks of the prompt. */
  readonly blocks: number;
  /** `decode`: its prompt is computed elsewhere. Default: both or prefill. */
  readonly stage?: 'decode' | undefined;
  /** Settings for this request only. */
  readonly overrides?: CostOverrides | undefined;
}

export type CostOverrides = { readonly [K in keyof CostSettings]?: CostSettings[K] | undefined };

/** A candidate's cost under a policy: the smallest wins. The terms are all that is needed to compute it again. */
export interface Cost {
  readonly cost: number;
  readonly terms: Readonly<Record<string, number>>;
}

/** Uniform in [0, 1). Passed in, so that simulations repeat. */
export type Random = () => number;

/** A way of choosing among candidates; at least one is given. A policy may keep state, for example whose turn it is. */
export interface RoutingPolicy {
  readonly name: string;
  /** Writes every candidate's cost into the table and changes nothing else. */
  weigh(candidates: CandidateTable, prompt: RoutedPrompt): void;
  /** Chooses a row of a table that it weighed for this prompt. */
  pick(candidates: CandidateTable, prompt: RoutedPrompt, random: Random): number;
  /** Explains the cost of a row of a table that it weighed for this prompt. */
  terms(candidates: CandidateTable, prompt: RoutedPrompt, row: number): Record<string, number>;
}

/** Every row's cost with its terms, of a table that the policy weighed for this prompt. */
export function explainCosts(policy: RoutingPolicy, candidates: CandidateTable, prompt: RoutedPrompt): Cost[] {
  return Array.from({ length: candidates.count }, (_, row) => ({
    cost: candidates.costs[row] ?? 0,
    terms: policy.terms(candidates, prompt, row),
  }));
}
