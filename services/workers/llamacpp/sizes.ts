import { availableParallelism } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { StatorError } from '#lib/errors/errors.ts';
import type { EngineOptions, ModelInfo } from '#native/llamacpp/index.ts';
import type { LlamacppOptions } from './options.ts';

export interface EngineSizes {
  readonly contextLength: number;
  readonly kvTokens: number;
  readonly batchTokens: number;
}

/** Most tokens of context unless the configuration asks for more: a model's own length may need more memory than there is. */
const defaultContextLimit = 8192;
/** llama.cpp rounds contexts up to this many cells. */
const cellMultiple = 256;

export function sizesOf(options: LlamacppOptions, info: ModelInfo): EngineSizes {
  const trained = info.trainedContextLength;
  const contextLength = options.contextLength ?? Math.min(trained, defaultContextLimit);
  if (contextLength > trained) {
    throw StatorError.invalid(
      'contextLength',
      `The model was trained with ${trained} tokens of context, not ${contextLength}.`,
    );
  }
  const wanted = options.kvTokens ?? 2 * contextLength;
  if (wanted < contextLength)
    throw StatorError.invalid('kvTokens', `It must be at least the context length, ${contextLength}.`);
  if (options.batchTokens < options.maxSequences) {
    throw StatorError.invalid('batchTokens', `It must be at least maxSequences, ${options.maxSequences}.`);
  }
  // A longer batch would push cells out of a sliding window before they are cached.
  const window = info.slidingWindow > 0 ? info.slidingWindow : options.batchTokens;
  const kvTokens = Math.ceil(wanted / cellMultiple) * cellMultiple;
  return {
    contextLength,
    kvTokens,
    batchTokens: Math.max(options.maxSequences, Math.min(options.batchTokens, window)),
  };
}

export function nativeOptions(options: LlamacppOptions, sizes: EngineSizes, modelDigest: Uint8Array): EngineOptions {
  return {
    contextLength: sizes.contextLength,
    kvCells: sizes.kvTokens,
    batchTokens: sizes.batchTokens,
    maxSequences: options.maxSequences,
    blockSize: options.blockSize,
    threads: threadsOf(options),
    flashAttention: options.flashAttention,
    keyType: options.keyType,
    valueType: options.valueType,
    offloadKv: options.gpuLayers !== 0,
    modelDigest,
    kvSliceUs: options.kvSliceUs,
  };
}

/** Half the hardware threads: ggml's threads spin while they wait, and what they take from others makes decoding collapse. */
export function threadsOf(options: LlamacppOptions): number {
  return options.threads ?? Math.max(1, Math.floor(availableParallelism() / 2));
}

export function adapterPath(uri: string): string {
  if (uri.startsWith('file:')) return fileURLToPath(uri);
  if (path.isAbsolute(uri)) return uri;
  throw StatorError.invalid('adapter.uri', 'Adapters are loaded from files: file:///path or an absolute path.');
}

/** A file that cannot be read before the addon sees it, in the words the addon uses. */
export function unreadable(file: string, cause: unknown, field = 'model'): StatorError {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  if (cause instanceof Error && cause.name === 'AbortError')
    return new StatorError('cancelled', 'Loading was cancelled.', { cause });
  if (code === 'ENOENT' || code === 'ENOTDIR')
    return StatorError.notFound(`There is no file ${file}.`, { field, cause });
  if (code === 'EACCES' || code === 'EPERM') {
    return new StatorError('permission_denied', `No permission to read ${file}.`, { field, cause });
  }
  if (code === 'EISDIR') return StatorError.invalid(field, `${file} is a folder, not a file.`, { cause });
  return StatorError.invalid(field, `${file} cannot be read.`, { cause });
}
