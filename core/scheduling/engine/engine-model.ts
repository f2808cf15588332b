import type { KvExchange } from './kv-exchange.ts';

/** Which part of a request an engine computes. */
export type RequestRole = 'aggregated' | 'prefill' | 'decode';

/** A request as the simulated engine sees it: how many tokens, which blocks, never the tokens themselves. */
export interface SimulatedRequest {
  /** Unique among the requests that the engine has; a positive integer below 2^31. */
  readonly id: number;
  readonly promptTokens: number;
  /** Sequence hashes of the prompt's full blocks, packed (8 bytes each, little-endian). Empty: nothing can be shared. */
  readonly sequenceHashes: Uint8Array;
  /** Local hashes of the same blocks, packed; only events carry them on. */
  readonly localHashes?: Uint8Array;
  /** Output tokens; the context length may allow fewer. */
  readonly maxTokens: number;
  /** Higher is scheduled first; default 0. */
  readonly priority?: number;
  readonly arrivalMs: number;
  /**
   * Default: aggregated. `prefill` ends with its first token and holds its blocks until `releaseHandoff`; `decode` has the KV
   * of its prompt transferred instead of computed.
   */
  readonly role?: RequestRole;
  /** Computes the whole prompt, whatever is cached. */
  readonly bypassPrefixCache?: boolean;
}

/** How busy an engine is. */
export interface EngineLoad {
  /** Sequences that hold blocks and are computed. */
  readonly running: number;
  /** Sequences that wait for their first or, preempted, their next computation. */
  readonly waiting: number;
  /** Blocks that sequences hold. */
  readonly activeBlocks: number;
  /** Blocks kept for later prompts. */
  readonly cachedBlocks: number;
  readonly totalBlocks: number;
  /** Prompt tokens of running and waiting sequences that are not computed yet. */
  readonly pendingPrefillTokens: number;
}

/** Bits of `EngineStep.flags`. */
export const stepFlags = {
  /** The prompt is computed: the first token of the sequence is in this step. */
  first: 1,
  /** The sequence has all its tokens; the engine has forgotten it. */
  finished: 2,
  /** The sequence is a prefill whose blocks wait for `releaseHandoff`. */
  handoff: 4,
} as const;

/**
 * One forward pass. Columns have one entry for each sequence that got tokens; the first `count` entries are valid until
 * the next `step` or `run`. Tokens come into being at `startMs + durationMs`.
 */
export interface EngineStep {
  readonly startMs: number;
  readonly durationMs: number;
  readonly count: number;
  readonly ids: Int32Array;
  /** Tokens that the sequence got: one, or more where speculation was accepted. */
  readonly tokens: Int32Array;
  /** Bits of stepFlags. */
  readonly flags: Uint8Array;
  /** Valid where `first` is set: prompt tokens found in a cache (or transferred), not computed. */
  readonly cachedTokens: Int32Array;
  /** Valid where `first` is set: when the sequence's first computation began. */
  readonly scheduledMs: Float64Array;
  /** Valid where `finished` is set: times that the sequence had to give up its blocks. */
  readonly preemptions: Int32Array;
  readonly pass: PassFigures;
}

/** What a forward pass computed, and what waited meanwhile. */
export interface PassFigures {
  readonly prefillSequences: number;
  /** Prompt tokens computed. */
  readonly prefillTokens: number;
  readonly decodeSequences: number;
  /** Tokens of context over all decoding sequences. */
  readonly decodeContextTokens: number;
  readonly queuedSequences: number;
  /** Prompt tokens, and after a preemption output tokens, of the sequences that wait. */
  readonly queuedTokens: number;
  readonly activeBlocks: number;
}

/** Several decode steps in which nothing was admitted and nothing finished: each gave each sequence one token. */
export interface EngineRun {
  readonly startMs: number;
  /** Steps; at least one. */
  readonly steps: number;
  /** Duration of each step, in order; the first `steps` entries are valid until the engine is called again. */
  readonly durationsMs: Float64Array;
  readonly endMs: number;
  /** Sequences that got a token in each step; the first `count` entries are valid. */
  readonly count: number;
  readonly ids: Int32Array;
}

/** Changes of the cache, in columns and in order; what `count` and `ends` say is valid until the engine is called again. */
export interface KvChanges {
  readonly count: number;
  readonly kinds: Uint8Array;
  /** Tier as the index numbers it: 0 device, 1 host, 2 disk. */
  readonly tiers: Uint8Array;
  /** When the change can be seen: the beginning of the pass that makes it, from which on the scheduler shares the block. */
  readonly atMs: Float64Array;
  /** Stored: index of the first block in its prompt. */
  readonly startBlocks: Int32Array;
  /** Stored and not at the start of a prompt: sequence hash of the block before the first, packed at 8 · change. */
  readonly parents: Uint8Array;
  /** Change i has the hashes from ends[i - 1] (0 for the first) to ends[i], counted in blocks. */
  readonly ends: Int32Array;
  /** Sequence hashes, packed. */
  readonly sequenceHashes: Uint8Array;
  /** Local hashes of stored blocks, packed alike; zero where unknown. */
  readonly localHashes: Uint8Array;
}

export const kvChangeKinds = { stored: 0, removed: 1 } as const;

/** Why an engine does not take a request. */
export type RejectionReason =
  | 'longer_than_pool'
  | 'longer_than_context'
  | 'longer_than_pass'
  | 'empty_prompt'
  | 'duplicate_id';

export class RequestRejectedError extends Error {
  override readonly name = 'RequestRejectedError';
  readonly reason: RejectionReason;
  /** What the request asks for, and what there is: tokens or blocks. */
  readonly actual: number;
  readonly limit: number;

  constructor(reason: RejectionReason, message: string, o: { readonly actual: number; readonly limit: number }) {
    super(message);
    this.reason = reason;
    this.actual = o.actual;
    this.limit = o.limit;
  }
}

/**
 * One data parallel rank of an inference engine without a model: scheduler, paged cache and timing. It has no clock and
 * does no I/O, so the same object runs a worker in real time and a simulation in virtual time.
 *
 * Time must not go back from call to call. A caller repeats: `step` at the end of the step before (or at once when idle and
 * something was submitted); undefined means that there is nothing to compute before `wakeAtMs`.
 */
export interface SimulatedEngine {
  /** Throws RequestRejectedError for what can never run. Takes part in passes that start at `nowMs` or later. */
  submit(request: SimulatedRequest, nowMs: number): void;
  /** Ends a sequence and frees what it holds, a prefill's handoff too; false for an unknown id. */
  cancel(id: number): boolean;
  /** Frees the blocks that a finished prefill held for its decoder; false for an unknown id. */
  releaseHandoff(id: number): boolean;
  /** The forward pass that starts at `nowMs`; undefined: nothing can be computed now. */
  step(nowMs: number): EngineStep | undefined;
  /**
   * Fast-forward: all passes from `nowMs` that start before `untilMs` (at most `maxSteps`) as long as they only decode and no
   * sequence is admitted, preempted or finished. The state, the durations and the changes are those of as many `step`s.
   * Undefined: the next pass is another kind, so `step` must make it.
   */
  run(nowMs: number, untilMs: number, maxSteps: number): EngineRun | undefined;
  /** Nothing can be computed before this time, although sequences are in transfer; undefined: nothing is in transfer. */
  readonly wakeAtMs: number | undefined;
  /** Sequences that are neither finished nor cancelled, handoffs aside. */
  readonly size: number;
  readonly load: EngineLoad;
  /** Forgets what no sequence uses, in every tier; returns how many blocks. */
  clearCache(): number;
  /** Changes of the cache since the last call. Whoever never calls it must turn events off in the settings. */
  takeKvChanges(): KvChanges;
  /** Every cached block as stored changes, parents before children where both are cached. */
  kvSnapshot(): Iterable<KvChanges>;
  /** How blocks leave and enter the device's cache beside sequences. */
  readonly exchange: KvExchange;
}
