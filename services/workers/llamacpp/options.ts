import { defaultJsonIndent } from '#core/grammar/gbnf.ts';
import type { KvType } from '#native/llamacpp/index.ts';

export type PoolingMode = 'auto' | 'none' | 'mean' | 'cls' | 'last' | 'rank';

/** One model and how it is computed. Unset sizes follow from the model and the machine. */
export interface LlamacppOptions {
  /** GGUF file; of a split model, the first part. */
  readonly modelPath: string;
  /** Name that clients send. Unset: the file's name without quantisation and extension. */
  readonly name: string | undefined;
  readonly aliases: readonly string[];
  /** Tokens of prompt and output. Unset: the model's own, at most 8192. */
  readonly contextLength: number | undefined;
  /** Tokens that running sequences and cached blocks share. Unset: twice the context length. */
  readonly kvTokens: number | undefined;
  /** Unset: half of the machine's hardware threads. */
  readonly threads: number | undefined;
  readonly batchTokens: number;
  readonly maxSequences: number;
  readonly maxQueuedSequences: number;
  readonly blockSize: number;
  /** Layers on the GPU; -1: all. */
  readonly gpuLayers: number;
  readonly flashAttention: boolean;
  readonly keyType: KvType;
  readonly valueType: KvType;
  /** Most microseconds that copies of KV blocks take between two steps, but at least one block; 0: an eighth of the last step. */
  readonly kvSliceUs: number;
  /** Copies of KV blocks that run or wait at once; more are refused. */
  readonly maxKvTransfers: number;
  /** What an embedding model pools; `auto`: what its file says, and generation where it says nothing. */
  readonly pooling: PoolingMode;
  readonly toolCallParser: string;
  readonly reasoningParser: string;
  /** Most blanks that indent a line of JSON that a schema asks for; 0: no line breaks. */
  readonly jsonIndent: number;
  /** Folder for digests of large files. */
  readonly cacheDir: string;
}

/** Neutral values for everything but the model; config.ts and tests start from them. */
export const defaultOptions: Omit<LlamacppOptions, 'modelPath' | 'cacheDir'> = {
  name: undefined,
  aliases: [],
  contextLength: undefined,
  kvTokens: undefined,
  threads: undefined,
  batchTokens: 512,
  maxSequences: 8,
  maxQueuedSequences: 256,
  blockSize: 16,
  gpuLayers: 0,
  flashAttention: true,
  keyType: 'f16',
  valueType: 'f16',
  kvSliceUs: 0,
  maxKvTransfers: 64,
  pooling: 'auto',
  toolCallParser: '',
  reasoningParser: '',
  jsonIndent: defaultJsonIndent,
};
