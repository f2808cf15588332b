/** A worker's data parallel rank that may serve a request, with what is in flight there. */
export interface Candidate {
  readonly instanceId: bigint;
  readonly dataParallelRank: number;
  /** Requests placed there and not finished. */
  readonly activeRequests: number;
  /** Prompt tokens placed there and not computed. */
  readonly activePrefillTokens: number;
  /** KV blocks that placed requests hold. */
  readonly activeBlocks: number;
  /** Sequences that the worker itself reports as running or waiting. 0: not reported. */
  readonly reportedSequences: number;
  /** Product of exp(-weight) style factors of preferred taints it carries; 1: none. */
  readonly preference: number;
}

/** A candidate's cost under a policy: the smallest wins. The terms explain it. */
export interface Cost {
  readonly cost: number;
  readonly terms: Readonly<Record<string, number>>;
}

export interface Choice {
  /** Index of the chosen candidate. */
  readonly index: number;
  /** One for each candidate, in order. */
  readonly costs: readonly Cost[];
}

/** Uniform in [0, 1). Passed in, so that simulations repeat. */
export type Random = () => number;

/** A way of choosing among candidates; at least one is given. A policy may keep state, for example whose turn it is. */
export interface RoutingPolicy {
  readonly name: string;
  choose(candidates: readonly Candidate[], random: Random): Choice;
  /** What `choose` would weigh, without a choice and without changing state. */
  explain(candidates: readonly Candidate[]): readonly Cost[];
}
