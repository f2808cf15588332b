/** How the synthetic engine behaves. */
export interface MockerOptions {
  readonly model: string;
  readonly aliases: readonly string[];
  readonly contextLength: number;
  readonly maxSequences: number;
  readonly maxQueuedSequences: number;
  readonly maxBatchedTokens: number;
  readonly blockSize: number;
  readonly kvBlocks: number;
  /** Milliseconds of a step; 0: as fast as possible. */
  readonly stepMs: number;
  /** Tokens of a sequence in one step. */
  readonly burst: number;
  /** Output tokens a second of each sequence; 0: burst tokens each step. */
  readonly tokensPerSecond: number;
  /** Prompt tokens a second of the whole engine; 0: a prompt takes one step. */
  readonly prefillTokensPerSecond: number;
  /** One token in this many ends the text; 0: only a limit ends it. */
  readonly meanOutputTokens: number;
  /** Length of embedding vectors; 0: the model does not embed. */
  readonly embeddingDimensions: number;
  readonly taints: readonly string[];
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
  contextLength: 8192,
  maxSequences: 1024,
  maxQueuedSequences: 4096,
  maxBatchedTokens: 8192,
  blockSize: 16,
  kvBlocks: 16_384,
  stepMs: 0,
  burst: 1,
  tokensPerSecond: 0,
  prefillTokensPerSecond: 0,
  meanOutputTokens: 256,
  embeddingDimensions: 64,
  taints: [],
  faults: { failSequenceAfterTokens: 0, failEngineAfterTokens: 0, killAfterTokens: 0 },
};
