import type { EngineKind, EngineSettings, TimingModel } from '#core/scheduling/engine/settings.ts';

/** Which part of disaggregated requests a worker is meant for. */
export type MockerRole = 'aggregated' | 'prefill' | 'decode';

/** Settings of the simulated engine that have no option of their own. */
export type SimulationOptions = Omit<
  EngineSettings,
  'kind' | 'blockSize' | 'totalBlocks' | 'maxSequences' | 'maxBatchedTokens' | 'contextLength' | 'kvEvents'
>;

/** Thinks before it answers: the first part of the output lies between two tokens. */
export interface ReasoningOptions {
  readonly startTokenId: number;
  readonly endTokenId: number;
  /** Part of the wanted output that is reasoning, from 0 to 1. */
  readonly ratio: number;
}

/** How the synthetic engine behaves. */
export interface MockerOptions {
  readonly model: string;
  readonly aliases: readonly string[];
  /** Whose scheduler is simulated. */
  readonly kind: EngineKind;
  readonly role: MockerRole;
  /** Data parallel ranks, each with its own scheduler and cache. */
  readonly ranks: number;
  readonly contextLength: number;
  readonly maxSequences: number;
  readonly maxQueuedSequences: number;
  readonly maxBatchedTokens: number;
  readonly blockSize: number;
  /** Of one rank. */
  readonly kvBlocks: number;
  readonly simulation: Partial<SimulationOptions>;
  /** How long passes take; undefined: what stepMs, tokensPerSecond and prefillTokensPerSecond say. */
  readonly timing: TimingModel | undefined;
  /** Milliseconds of a decode pass; 0: as fast as possible. */
  readonly stepMs: number;
  /** Tokens of a sequence in one step. */
  readonly burst: number;
  /** Output tokens a second of each sequence, instead of stepMs; 0: burst tokens each step. */
  readonly tokensPerSecond: number;
  /** Prompt tokens a second of the whole engine; 0: they take no time. */
  readonly prefillTokensPerSecond: number;
  /** One token in this many ends the text; 0: only a limit ends it. */
  readonly meanOutputTokens: number;
  /** Length of embedding vectors; 0: the model does not embed. */
  readonly embeddingDimensions: number;
  readonly reasoning: ReasoningOptions | undefined;
  readonly taints: readonly string[];
  /** Milliseconds until the engine is ready. */
  readonly startupMs: number;
  /** Where KV events are published in vLLM's ZeroMQ form too; undefined: nowhere. */
  readonly zmq: { readonly endpoint: string; readonly replayEndpoint: string | undefined } | undefined;
  /** Bytes of a KV block that leave and enter the engine; 0: none do. Needs one rank. */
  readonly kvBlockBytes: number;
  /** Milliseconds for which the KV of a prefill waits for its decoder. */
  readonly handoffTtlMs: number;
  readonly faults: MockerFaults;
}

/** Failures to be injected; 0: none. */
export interface MockerFaults {
  /** Ends a sequence with an error after this many tokens of it. */
  readonly failSequenceAfterTokens: number;
  /** Makes the engine unusable after this many tokens in all. */
  readonly failEngineAfterTokens: number;
  /** Kills the process after this many tokens in all. */
  readonly killAfterTokens: number;
}

export const defaultMockerOptions: MockerOptions = {
  model: 'synthetic',
  aliases: [],
  kind: 'vllm',
  role: 'aggregated',
  ranks: 1,
  contextLength: 8192,
  maxSequences: 1024,
  maxQueuedSequences: 4096,
  maxBatchedTokens: 8192,
  blockSize: 16,
  kvBlocks: 16_384,
  simulation: {},
  timing: undefined,
  stepMs: 0,
  burst: 1,
  tokensPerSecond: 0,
  prefillTokensPerSecond: 0,
  meanOutputTokens: 256,
  embeddingDimensions: 64,
  reasoning: undefined,
  taints: [],
  startupMs: 0,
  zmq: undefined,
  kvBlockBytes: 0,
  handoffTtlMs: 60_000,
  faults: { failSequenceAfterTokens: 0, failEngineAfterTokens: 0, killAfterTokens: 0 },
};
