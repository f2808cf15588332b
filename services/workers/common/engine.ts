import type { TokenTable } from '#core/tokens/token-table.ts';
import type {
  FinishReason,
  GenerateRequest,
  PositionLogprobs,
  SequenceError,
  Usage,
} from '#gen/stator/engine/v1/generate_pb.ts';
import type { ForwardPass, KvEvent, RankLoad } from '#gen/stator/events/v1/events_pb.ts';
import type { Adapter, ModelCard, Pooling } from '#gen/stator/model/v1/model_pb.ts';
import type { KvHandoff } from '#gen/stator/transfer/v1/handoff_pb.ts';
import type { EngineKv, PromptKeeper } from './engine-kv.ts';

/** Number that the common worker gives a sequence; unique in one engine while the sequence lives. */
export type SequenceHandle = number;

/** A sequence's prompt is computed; its first token is in the same step. */
export interface Prefilled {
  readonly handle: SequenceHandle;
  readonly cachedTokens: number;
  /** Microseconds between submit and the first prompt token being computed. */
  readonly queueUs: number;
  /** Microseconds from then to the first output token. */
  readonly prefillUs: number;
  readonly promptLogprobs: readonly PositionLogprobs[] | null;
}

/** A sequence ended; the engine has forgotten its handle. */
export interface Finished {
  readonly handle: SequenceHandle;
  readonly reason: FinishReason;
  /** Stop token that ended it, which is not among its tokens. */
  readonly stopTokenId: number | null;
  readonly error: SequenceError | null;
  readonly usage: Usage;
  readonly handoff: KvHandoff | null;
}

/** Log-probabilities of one token of the step. */
export interface TokenLogprobs {
  /** Index in the columns of the step. */
  readonly entry: number;
  readonly position: PositionLogprobs;
}

/**
 * What one engine step did: two columns of equal length with one entry for each token, and sparse lists that apply
 * after them. The engine hands the batch over and never touches it again.
 */
export interface StepBatch {
  readonly handles: Uint32Array;
  readonly tokenIds: Uint32Array;
  readonly prefilled: readonly Prefilled[];
  readonly finished: readonly Finished[];
  readonly logprobs: readonly TokenLogprobs[];
  readonly kvEvents: readonly KvEventChange[];
  readonly forwardPass: Omit<ForwardPass, '$typeName' | '$unknown' | 'sequenceNumber'> | null;
}

/** A change of the cache without its number, which the common worker's ring assigns. */
export type KvEventChange = Pick<KvEvent, 'change' | 'dataParallelRank'>;

/** Where an engine puts what it produces. Called on the event loop, never re-entrantly from submit or cancel. */
export interface EngineListener {
  onStep(step: StepBatch): void;
  /** The engine is unusable; every running sequence is lost. */
  onFatal(error: Error): void;
}

/** Text both ways, for direct clients that send or want text. */
export interface EngineText {
  readonly table: TokenTable;
  /** Absent: only token ids are accepted. */
  encode?(text: string): Uint32Array;
}

export interface EmbedInput {
  readonly tokenIds: Uint32Array;
}

/**
 * An inference engine with one loaded model. The common worker turns it into EngineService; a new engine is one folder
 * that implements this. Methods an engine lacks are absent, its card does not promise them, and the RPC answers UNIMPLEMENTED.
 */
export interface Engine {
  /** What it serves. Valid after `start`; artefact digests included. */
  readonly card: ModelCard;
  /** Valid after `start`. Absent: the worker neither reads nor writes text. */
  readonly text?: EngineText | undefined;
  /** Loads the model and starts computing. Progress is a fraction from 0 to 1. */
  start(listener: EngineListener, options: { signal: AbortSignal; onProgress?(fraction: number): void }): Promise<void>;
  /**
   * Takes a sequence. Throws StatorError for a request the card does not promise (`invalid_argument`, `unsupported`,
   * `context_length_exceeded`) or beyond the queue bound (`overloaded`); after it returns, `finished` follows exactly once.
   */
  submit(handle: SequenceHandle, request: GenerateRequest): void;
  /** Ends a sequence within one step; its `finished` still follows. Unknown handles are ignored. */
  cancel(handle: SequenceHandle): void;
  load(): RankLoad[];
  /** Forgets cached blocks of sequences that do not run; returns how many. */
  clearCache(): Promise<number>;
  /**
   * Every block cached now, as stored changes in prefix order: the snapshot for late subscribers. It may be read over many
   * turns of the event loop: what is cached all that time must be in it, what comes or goes meanwhile may be.
   */
  kvSnapshot(): Iterable<KvEventChange>;
  embed?(
    inputs: readonly EmbedInput[],
    options: { pooling: Pooling; normalize: boolean; signal: AbortSignal },
  ): Promise<Float32Array[]>;
  score?(query: EmbedInput, documents: readonly EmbedInput[], options: { signal: AbortSignal }): Promise<number[]>;
  loadAdapter?(adapter: Adapter): Promise<{ alreadyLoaded: boolean }>;
  unloadAdapter?(name: string): Promise<void>;
  listAdapters?(): readonly Adapter[];
  sleep?(level: number): Promise<void>;
  wake?(): Promise<void>;
  releaseHandoff?(handoffId: string): Promise<boolean>;
  /** Absent: KV blocks neither leave nor enter. */
  readonly kv?: EngineKv | undefined;
  /** Valid after `start`. Absent: prompts stay cached while there is room, and no longer. */
  readonly prompts?: PromptKeeper | undefined;
  /** Ends everything and frees the model. Idempotent; sequences still running get no further step. */
  stop(): Promise<void>;
}
