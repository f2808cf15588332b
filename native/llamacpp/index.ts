import { createRequire } from 'node:module';
import type { Binding, ModelHandle, ModelInfo, VocabTable } from './binding.d.ts';
import { findCudaLibrary, findLibraries } from './libraries.ts';

export type { ModelHandle, ModelInfo, VocabTable } from './binding.d.ts';

/** Bits of `VocabTable.attributes`. */
export const tokenAttributes = { unknown: 1, unused: 2, normal: 4, control: 8, userDefined: 16, byte: 32 } as const;

/** Errors of this module are plain Errors with these two properties; `code` is a row of Stator's error table. */
export interface NativeError extends Error {
  readonly code: string;
  readonly field: string | null;
}

export interface ModelOptions {
  /** Layers computed by a GPU; negative: all. Above 0 the CUDA package must be installed. Default 0. */
  readonly gpuLayers?: number;
  /** Whether weights are mapped from the file instead of read. Default true. */
  readonly useMmap?: boolean;
}

let loaded: Binding | undefined;
let cudaLoaded = false;

/** Loads the addon and ggml's CPU back ends on first use, so that importing this module costs and risks nothing. */
export function loadBinding(): Binding {
  if (loaded !== undefined) return loaded;
  const file = new URL('./build/Release/llamacpp.node', import.meta.url);
  try {
    const binding: Binding = createRequire(import.meta.url)(decodeURIComponent(file.pathname));
    binding.backendInit(findLibraries(), []);
    loaded = binding;
    return binding;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw nativeError(
      'not_ready',
      `The llama.cpp addon cannot be loaded: ${reason} Build it with: npm run native.`,
      cause,
    );
  }
}

/** Sends llama.cpp's own log lines to a callback of this thread; null: nowhere. Level 1 debug, 2 info, 3 warning, 4 error. */
export function setLogger(callback: ((level: number, line: string) => void) | null): void {
  loadBinding().setLogger(callback);
}

/** Loads a GGUF file. Rejects with `not_found`, `permission_denied` or `invalid_argument` (field `model`). */
export async function modelLoad(path: string, options: ModelOptions = {}): Promise<ModelHandle> {
  const binding = loadBinding();
  const gpuLayers = options.gpuLayers ?? 0;
  if (gpuLayers !== 0) loadCuda(binding);
  return binding.modelLoad({ path, vocabOnly: false, gpuLayers, useMmap: options.useMmap ?? true });
}

export function modelInfo(model: ModelHandle): ModelInfo {
  return loadBinding().modelInfo(model);
}

/** Drops this handle's share of the model; whatever still computes with it keeps its own. */
export function modelFree(model: ModelHandle): void {
  loadBinding().modelFree(model);
}

/** Loads only the vocabulary of a GGUF file. Rejects as `modelLoad` does. */
export async function vocabLoad(path: string): Promise<ModelHandle> {
  return loadBinding().modelLoad({ path, vocabOnly: true, gpuLayers: 0, useMmap: true });
}

/** Encodes text on a native thread. */
export async function vocabTokenize(
  model: ModelHandle,
  text: string,
  options: { readonly addSpecial: boolean; readonly parseSpecial: boolean },
): Promise<Uint32Array> {
  return loadBinding().vocabTokenize(model, text, options.addSpecial, options.parseSpecial);
}

/** Bytes, offsets and attributes of all tokens, special ids, template. */
export function vocabTokenBytes(model: ModelHandle): VocabTable {
  return loadBinding().vocabTable(model);
}

function loadCuda(binding: Binding): void {
  if (cudaLoaded) return;
  const library = findCudaLibrary();
  if (library === undefined) {
    const name = `@node-llama-cpp/${process.platform}-${process.arch}-cuda`;
    throw nativeError('not_ready', `GPU layers need the package ${name}, which is not installed.`);
  }
  binding.backendInit(findLibraries(), [library]);
  cudaLoaded = true;
}

function nativeError(code: string, message: string, cause?: unknown): NativeError {
  return Object.assign(new Error(message, cause === undefined ? {} : { cause }), { code, field: null });
}
