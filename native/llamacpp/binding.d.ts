// One-to-one mirror of what src/addon.cc exports, in its order. Every property is always present; absence is null.

declare const modelBrand: unique symbol;
/** A loaded model. */
export type ModelHandle = { readonly [modelBrand]: true };

export interface ModelLoadOptions {
  readonly path: string;
  readonly vocabOnly: boolean;
  /** Layers computed by a GPU; negative: all. */
  readonly gpuLayers: number;
  readonly useMmap: boolean;
}

export interface ModelInfo {
  readonly description: string;
  /** Release of llama.cpp. */
  readonly release: string;
  readonly trainedContextLength: number;
  readonly embeddingDimensions: number;
  readonly layers: number;
  /** Tokens that sliding-window layers see; 0: all. */
  readonly slidingWindow: number;
  readonly parameters: number;
  readonly bytes: number;
  readonly hasEncoder: boolean;
  readonly hasDecoder: boolean;
  /** Whether the model keeps a recurrent state, which cannot be cut into blocks. */
  readonly recurrent: boolean;
  /** GGUF keys and their values as text. */
  readonly metadata: Readonly<Record<string, string>>;
}

export interface VocabTable {
  readonly type: 'spm' | 'bpe' | 'wpm' | 'ugm' | 'rwkv' | 'plamo2' | 'none';
  readonly size: number;
  /** Bytes of every token's text, one after the other; special tokens have theirs too. */
  readonly data: Uint8Array;
  /** Offset of each token in data, and one more for the end. */
  readonly offsets: Uint32Array;
  /** Bits of llama_token_attr. */
  readonly attributes: Uint32Array;
  readonly scores: Float32Array;
  /** Ids that end generation. */
  readonly endOfGeneration: Uint32Array;
  readonly special: {
    readonly bos: number | null;
    readonly eos: number | null;
    readonly eot: number | null;
    readonly sep: number | null;
    readonly pad: number | null;
    readonly mask: number | null;
  };
  readonly addBos: boolean;
  readonly addEos: boolean;
  readonly chatTemplate: string | null;
}

declare const engineBrand: unique symbol;
/** A running engine. */
export type EngineHandle = { readonly [engineBrand]: true };

export type KvType = 'f32' | 'f16' | 'bf16' | 'q8_0' | 'q4_0';

export interface EngineOptions {
  /** Most tokens of one sequence. */
  readonly contextLength: number;
  /** Tokens that all sequences and cached blocks together can hold; at least contextLength. */
  readonly kvCells: number;
  /** Most tokens of one step; at least maxSequences. */
  readonly batchTokens: number;
  /** Sequences computed together, 1 to 128. */
  readonly maxSequences: number;
  readonly blockSize: number;
  readonly threads: number;
  /** Whether flash attention is used where llama.cpp finds it useful. */
  readonly flashAttention: boolean;
  readonly keyType: KvType;
  readonly valueType: KvType;
  /** Whether the KV cache lies on the GPU, where there is one. */
  readonly offloadKv: boolean;
  /** SHA-256 of the model's contents, which exported blocks carry. Empty: blocks neither leave nor enter. */
  readonly modelDigest: Uint8Array;
  /** Most microseconds between two steps that copies of blocks take, but at least one block; 0: an eighth of the last step. */
  readonly kvSliceUs: number;
}

export interface SamplingRequest {
  /** 0: greedy. */
  readonly temperature: number;
  readonly topP: number;
  /** 0 or less: all. */
  readonly topK: number;
  readonly minP: number;
  readonly frequencyPenalty: number;
  readonly presencePenalty: number;
  readonly repetitionPenalty: number;
  readonly seed: bigint;
  /** GBNF with a rule `root`; empty: none. */
  readonly grammar: string;
  readonly topLogprobs: number | null;
  readonly logitBiasTokens: Uint32Array;
  readonly logitBiasValues: Float32Array;
}

export interface SubmitRequest extends SamplingRequest {
  readonly handle: number;
  readonly tokenIds: Uint32Array;
  /** How many of the last tokenIds are output of an earlier run. */
  readonly resumedOutputTokens: number;
  /** New output tokens. */
  readonly maxTokens: number;
  /** Counts resumed tokens. */
  readonly minTokens: number;
  readonly ignoreEos: boolean;
  readonly bypassPrefixCache: boolean;
  /** Higher runs earlier. */
  readonly priority: number;
  readonly stopTokenIds: Uint32Array;
  readonly promptLogprobs: number | null;
  /** Empty: none. */
  readonly adapter: string;
  readonly cacheSalt: string;
}

export interface NativeTokenLogprob {
  readonly tokenId: number;
  readonly logprob: number;
  /** 1: the likeliest. */
  readonly rank: number;
}

export interface NativePositionLogprobs {
  readonly chosen: NativeTokenLogprob;
  readonly top: readonly NativeTokenLogprob[];
}

export interface NativePrefilled {
  readonly handle: number;
  readonly cachedTokens: number;
  readonly queueUs: number;
  readonly prefillUs: number;
  readonly promptLogprobs: readonly NativePositionLogprobs[] | null;
}

export interface NativeFinished {
  readonly handle: number;
  /** 0 stop, 1 length, 2 cancelled, 3 error. */
  readonly reason: number;
  readonly stopTokenId: number | null;
  readonly error: (Error & { readonly code: string; readonly field: string | null }) | null;
  readonly promptTokens: number;
  readonly outputTokens: number;
  readonly cachedTokens: number;
}

/** Blocks entered the cache in prefix order, or left it. */
export interface NativeKvChange {
  readonly stored: boolean;
  /** Sequence hash of the block before the first; null: the first block starts a prompt. */
  readonly parent: bigint | null;
  readonly startBlock: number;
  readonly sequenceHashes: BigUint64Array;
  /** Empty when blocks left. */
  readonly localHashes: BigUint64Array;
}

export interface NativePass {
  readonly startUnixUs: bigint;
  readonly durationUs: number;
  readonly prefillSequences: number;
  readonly prefillTokens: number;
  readonly decodeSequences: number;
  readonly decodeContextTokens: number;
}

export interface NativeLoad {
  readonly runningSequences: number;
  readonly queuedSequences: number;
  readonly queuedTokens: number;
  readonly pendingPrefillTokens: number;
  readonly activeBlocks: number;
  readonly cachedBlocks: number;
}

export interface NativeStep {
  readonly handles: Uint32Array;
  readonly tokenIds: Uint32Array;
  readonly prefilled: readonly NativePrefilled[];
  readonly finished: readonly NativeFinished[];
  readonly logprobs: readonly { readonly entry: number; readonly position: NativePositionLogprobs }[];
  readonly kv: readonly NativeKvChange[];
  readonly pass: NativePass | null;
  /** Blocks copied out of the cache or into it before this step. */
  readonly copiedBlocks: number;
  /** Why the engine is unusable from now on. */
  readonly fatal: string | null;
  readonly load: NativeLoad;
}

export interface NativeKvFormat {
  /** Of every block, header included. */
  readonly blockBytes: number;
  readonly headerBytes: number;
  readonly flashAttention: boolean;
  /** Release of llama.cpp. */
  readonly release: string;
}

export interface NativeKvSpan {
  readonly memory: Uint8Array;
  readonly offset: number;
  /** At import: of the block. At export: room, at least blockBytes. */
  readonly bytes: number;
}

/** Copies blocks of a prompt, from block `from` on, one for each span. */
export interface NativeKvTransfer {
  /** Unique in the engine until the transfer has failed, or the import or hold is released. */
  readonly id: number;
  readonly imports: boolean;
  /** At least those of all blocks up to the last one to copy. */
  readonly tokenIds: Uint32Array;
  readonly adapter: string;
  readonly cacheSalt: string;
  readonly from: number;
  readonly spans: readonly NativeKvSpan[];
}

declare const embedderBrand: unique symbol;
/** A context that embeds. */
export type EmbedderHandle = { readonly [embedderBrand]: true };

export interface EmbedderOptions {
  /** Most tokens of one pass, and so of one input. */
  readonly batchTokens: number;
  /** Inputs of one pass, 1 to 256. */
  readonly maxSequences: number;
  readonly threads: number;
  /** llama_pooling_type: -1 the model's own, 1 mean, 2 first, 3 last, 4 rank. */
  readonly pooling: number;
}

export interface EmbedderInfo {
  readonly dimensions: number;
  /** llama_pooling_type in use. */
  readonly pooling: number;
}

export interface Binding {
  setLogger(callback: ((level: number, line: string) => void) | null): void;
  backendInit(librariesDir: string, extraLibraries: readonly string[]): string[];
  modelLoad(options: ModelLoadOptions): Promise<ModelHandle>;
  modelInfo(model: ModelHandle): ModelInfo;
  modelFree(model: ModelHandle): void;
  vocabTokenize(model: ModelHandle, text: string, addSpecial: boolean, parseSpecial: boolean): Promise<Uint32Array>;
  vocabTokenizeNow(model: ModelHandle, text: string, addSpecial: boolean, parseSpecial: boolean): Uint32Array;
  vocabTable(model: ModelHandle): VocabTable;
  engineCreate(
    model: ModelHandle,
    options: EngineOptions,
    onSteps: (steps: NativeStep[]) => void,
  ): Promise<EngineHandle>;
  engineSubmit(engine: EngineHandle, request: SubmitRequest): void;
  engineCancel(engine: EngineHandle, handle: number): void;
  engineClearCache(engine: EngineHandle): Promise<number>;
  engineSnapshot(engine: EngineHandle): Promise<NativeKvChange[]>;
  engineLoadAdapter(engine: EngineHandle, name: string, path: string, scale: number): Promise<boolean>;
  engineUnloadAdapter(engine: EngineHandle, name: string): Promise<void>;
  engineKvFormat(engine: EngineHandle): NativeKvFormat | null;
  engineKvCopy(engine: EngineHandle, transfer: NativeKvTransfer): Promise<number>;
  engineKvCancel(engine: EngineHandle, id: number): void;
  engineKvAccept(engine: EngineHandle, id: number, sound: number): Promise<number>;
  engineKvRelease(engine: EngineHandle, id: number): Promise<void>;
  enginesStop(): void;
  engineStop(engine: EngineHandle): Promise<void>;
  embedderCreate(model: ModelHandle, options: EmbedderOptions): Promise<EmbedderHandle>;
  embedderInfo(embedder: EmbedderHandle): EmbedderInfo;
  embedderRun(
    embedder: EmbedderHandle,
    tokenIds: Uint32Array,
    lengths: Uint32Array,
    normalize: boolean,
  ): Promise<Float32Array>;
  embedderStop(embedder: EmbedderHandle): void;
  referenceGreedy(model: ModelHandle, tokenIds: Uint32Array, count: number): Promise<Uint32Array>;
  referenceState(model: ModelHandle, tokenIds: Uint32Array, cells: number, rounds: number): Promise<Float64Array>;
}
