/** Whose scheduler an engine imitates. */
export type EngineKind = 'vllm' | 'sglang' | 'trtllm';

/** What an SGLang-like scheduler has of its own. */
export interface SglangSettings {
  /** Order of waiting requests: arrival, or longest cached prefix first. */
  readonly policy: 'fifo' | 'lpm';
  /** Prompt tokens admitted into one prefill batch. */
  readonly maxPrefillTokens: number;
  readonly chunkedPrefillTokens: number;
  /** Output tokens that admission reserves for one request at most. */
  readonly clipMaxNewTokens: number;
  /** Scales the part of the expected output that admission reserves; higher retracts less often. */
  readonly conservativeness: number;
}

/** How KV comes from a prefill worker. */
export interface TransferSettings {
  /** 1 GB = 10^9 bytes; 0: without delay. */
  readonly gigabytesPerSecond: number;
  readonly bytesPerToken: number;
  /** Whether the whole prompt is transferred, or what the destination has not cached. */
  readonly mode: 'full_prompt' | 'destination_missing';
}

/** Tiers below the device, and how fast blocks come back from them. */
export interface OffloadSettings {
  /** Blocks in host memory; 0: no offload. */
  readonly hostBlocks: number;
  /** Blocks on disk, behind host memory; 0: none. */
  readonly diskBlocks: number;
  /** Bytes of a block are those of its tokens; 0: onboarding takes no time. */
  readonly hostGigabytesPerSecond: number;
  readonly diskGigabytesPerSecond: number;
  readonly bytesPerToken: number;
}

/** How a simulated engine behaves; the defaults are those of Dynamo's mocker. */
export interface EngineSettings {
  readonly kind: EngineKind;
  readonly blockSize: number;
  readonly totalBlocks: number;
  /** Sequences computed at once. */
  readonly maxSequences: number;
  /** Tokens in one pass. */
  readonly maxBatchedTokens: number;
  /** Tokens of prompt and output. */
  readonly contextLength: number;
  readonly prefixCaching: boolean;
  readonly chunkedPrefill: boolean;
  /** Who makes room when blocks run out: the sequence admitted last, or first. */
  readonly preemption: 'lifo' | 'fifo';
  /** Divides every duration; 0: passes take no time. */
  readonly speedup: number;
  /** Divides the decode part again. */
  readonly decodeSpeedup: number;
  /** Probability that speculative token i is accepted, given that all before it were. Empty: no speculation. */
  readonly acceptRates: readonly number[];
  /** Seed of accepted speculation. */
  readonly seed: number;
  readonly sglang: SglangSettings;
  readonly transfer: TransferSettings;
  readonly offload: OffloadSettings;
  /** Whether changes of the cache are recorded. */
  readonly kvEvents: boolean;
}

/** Tokens in a block where the user says nothing. */
export const defaultBlockSizes: Readonly<Record<EngineKind, number>> = { vllm: 64, sglang: 1, trtllm: 32 };

export const defaultSglangSettings: SglangSettings = {
  policy: 'fifo',
  maxPrefillTokens: 16_384,
  chunkedPrefillTokens: 8192,
  clipMaxNewTokens: 4096,
  conservativeness: 1,
};

export const defaultEngineSettings: EngineSettings = {
  kind: 'vllm',
  blockSize: defaultBlockSizes.vllm,
  totalBlocks: 16_384,
  maxSequences: 256,
  maxBatchedTokens: 8192,
  contextLength: 131_072,
  prefixCaching: true,
  chunkedPrefill: true,
  preemption: 'lifo',
  speedup: 1,
  decodeSpeedup: 1,
  acceptRates: [],
  seed: 0,
  sglang: defaultSglangSettings,
  transfer: { gigabytesPerSecond: 0, bytesPerToken: 0, mode: 'full_prompt' },
  offload: { hostBlocks: 0, diskBlocks: 0, hostGigabytesPerSecond: 0, diskGigabytesPerSecond: 0, bytesPerToken: 0 },
  kvEvents: true,
};

/** Duration of the parts of a pass in milliseconds, before speedups. */
export interface TimingModel {
  /** `tokens`: prompt tokens computed in the pass by `sequences` (above 0), not counting what was cached. */
  prefillMs(tokens: number, sequences: number): number;
  /** `activeKvTokens`: contexts of the decoding sequences in all, shared or not. `contextTokens`: their mean. */
  decodeMs(activeKvTokens: number, totalKvTokens: number, contextTokens: number): number;
}

/** Names the blocks that a sequence fills with its own output. */
export interface OutputHasher {
  /**
   * Writes the sequence hash of block `index` of request `id` to words 0 and 1 (low first), and its local hash to 2 and 3.
   * The block before it has the hash `parentLow`, `parentHigh` (0, 0 for index 0).
   */
  hash(id: number, index: number, parentLow: number, parentHigh: number, into: Uint32Array): void;
}
