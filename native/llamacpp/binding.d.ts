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

export interface Binding {
  setLogger(callback: ((level: number, line: string) => void) | null): void;
  backendInit(librariesDir: string, extraLibraries: readonly string[]): string[];
  modelLoad(options: ModelLoadOptions): Promise<ModelHandle>;
  modelInfo(model: ModelHandle): ModelInfo;
  modelFree(model: ModelHandle): void;
  vocabTokenize(model: ModelHandle, text: string, addSpecial: boolean, parseSpecial: boolean): Promise<Uint32Array>;
  vocabTable(model: ModelHandle): VocabTable;
}
