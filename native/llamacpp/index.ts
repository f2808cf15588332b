import { createRequire } from 'node:module';
import type {
  Binding,
  EmbedderHandle,
  EmbedderInfo,
  EmbedderOptions,
  EngineHandle,
  EngineOptions,
  ModelHandle,
  ModelInfo,
  NativeKvChange,
  NativeKvFormat,
  NativeKvSpan,
  NativeKvTransfer,
  NativeStep,
  SubmitRequest,
  VocabTable,
} from './binding.d.ts';
import { findCudaLibrary, findLibraries } from './libraries.ts';

export type * from './binding.d.ts';

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
    process.once('exit', () => binding.enginesStop());
    loaded = binding;
    return binding;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw nativeError(
      'not_ready',
      `The llama.cpp addon cannot be loaded: ${reason} Build it with: npm run native, or see: stator doctor.`,
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

/** Encodes text on this thread: for short texts of direct clients. */
export function vocabTokenizeNow(
  model: ModelHandle,
  text: string,
  options: { readonly addSpecial: boolean; readonly parseSpecial: boolean },
): Uint32Array {
  return loadBinding().vocabTokenizeNow(model, text, options.addSpecial, options.parseSpecial);
}

/** Bytes, offsets and attributes of all tokens, special ids, template. */
export function vocabTokenBytes(model: ModelHandle): VocabTable {
  return loadBinding().vocabTable(model);
}

/**
 * Creates a context and the thread that computes in it. `onSteps` gets what happened since its last call, in order, on
 * this event loop. Rejects with `invalid_argument` if the model cannot generate or the context does not fit.
 */
export async function engineCreate(
  model: ModelHandle,
  options: EngineOptions,
  onSteps: (steps: NativeStep[]) => void,
): Promise<EngineHandle> {
  return loadBinding().engineCreate(model, options, onSteps);
}

/** Takes a sequence; its `finished` follows exactly once. Throws `invalid_argument` for a grammar that does not parse. */
export function engineSubmit(engine: EngineHandle, request: SubmitRequest): void {
  loadBinding().engineSubmit(engine, request);
}

/** Ends a sequence before the next step. Unknown handles are ignored. */
export function engineCancel(engine: EngineHandle, handle: number): void {
  loadBinding().engineCancel(engine, handle);
}

/** Forgets cached blocks that no sequence uses; resolves to their number. */
export async function engineClearCache(engine: EngineHandle): Promise<number> {
  return loadBinding().engineClearCache(engine);
}

/** Every cached block as stored changes, parents first: what replaying all changes so far gives. */
export async function engineSnapshot(engine: EngineHandle): Promise<NativeKvChange[]> {
  return loadBinding().engineSnapshot(engine);
}

/** Loads a LoRA adapter from a GGUF file; resolves to whether one of that name was loaded before. */
export async function engineLoadAdapter(engine: EngineHandle, name: string, path: string, scale = 1): Promise<boolean> {
  return loadBinding().engineLoadAdapter(engine, name, path, scale);
}

/** Rejects with `not_found`, or with `conflict` while a sequence uses it. */
export async function engineUnloadAdapter(engine: EngineHandle, name: string): Promise<void> {
  return loadBinding().engineUnloadAdapter(engine, name);
}

/** How exported blocks look; null where blocks neither leave nor enter. */
export function engineKvFormat(engine: EngineHandle): NativeKvFormat | null {
  return loadBinding().engineKvFormat(engine);
}

/** Spans of copies that run: nothing else in JavaScript may refer to their memory. */
const copying = new Set<readonly NativeKvSpan[]>();

/**
 * Copies blocks out of the cache or into it, between steps. Resolves to the number of blocks done: of an export fewer than
 * spans where the cache does not have the next one. Imported blocks wait, under the transfer's id, for `engineKvAccept` or
 * `engineKvRelease`. Rejects with `invalid_argument` (field `spans[i]`: bytes that are not that block), `conflict`,
 * `overloaded`, `not_found` (adapter), `cancelled`, `not_ready`; the memory is not touched after that.
 */
export async function engineKvCopy(engine: EngineHandle, transfer: NativeKvTransfer): Promise<number> {
  copying.add(transfer.spans);
  try {
    return await loadBinding().engineKvCopy(engine, transfer);
  } finally {
    copying.delete(transfer.spans);
  }
}

/** Ends a running copy before its next slice. Unknown ids are ignored. */
export function engineKvCancel(engine: EngineHandle, id: number): void {
  loadBinding().engineKvCancel(engine, id);
}

/** Caches the first `sound` imported blocks and holds the prompt's blocks; resolves to the number held. */
export async function engineKvAccept(engine: EngineHandle, id: number, sound: number): Promise<number> {
  return loadBinding().engineKvAccept(engine, id, sound);
}

/** Ends a hold, or forgets an import. Unknown ids are ignored. */
export async function engineKvRelease(engine: EngineHandle, id: number): Promise<void> {
  return loadBinding().engineKvRelease(engine, id);
}

/** Ends the engine's thread within one node of the running graph; running sequences get no further step. Idempotent. */
export async function engineStop(engine: EngineHandle): Promise<void> {
  return loadBinding().engineStop(engine);
}

/** Creates a context that embeds, or scores with rank pooling. Rejects with `invalid_argument`. */
export async function embedderCreate(model: ModelHandle, options: EmbedderOptions): Promise<EmbedderHandle> {
  return loadBinding().embedderCreate(model, options);
}

export function embedderInfo(embedder: EmbedderHandle): EmbedderInfo {
  return loadBinding().embedderInfo(embedder);
}

/** One vector for each input, in order. Calls on one embedder must not overlap: each would hold a pool thread. */
export async function embedderRun(
  embedder: EmbedderHandle,
  inputs: readonly Uint32Array[],
  normalize: boolean,
): Promise<Float32Array[]> {
  const binding = loadBinding();
  const lengths = Uint32Array.from(inputs, (input) => input.length);
  const tokenIds = new Uint32Array(lengths.reduce((sum, length) => sum + length, 0));
  let offset = 0;
  for (const input of inputs) {
    tokenIds.set(input, offset);
    offset += input.length;
  }
  const { dimensions } = binding.embedderInfo(embedder);
  const vectors = await binding.embedderRun(embedder, tokenIds, lengths, normalize);
  return inputs.map((_, index) => vectors.subarray(index * dimensions, (index + 1) * dimensions));
}

/** Ends a running pass and frees the context with its last user. Idempotent. */
export function embedderStop(embedder: EmbedderHandle): void {
  loadBinding().embedderStop(embedder);
}

/** llama.cpp driven directly, for tests: up to `count` greedy tokens in a context of their own. */
export async function referenceGreedy(model: ModelHandle, tokenIds: Uint32Array, count: number): Promise<Uint32Array> {
  return loadBinding().referenceGreedy(model, tokenIds, count);
}

/** How llama.cpp alone copies the state of one whole sequence, for benchmarks: microseconds out and in of each round. */
export async function referenceState(
  model: ModelHandle,
  tokenIds: Uint32Array,
  options: { readonly cells: number; readonly rounds: number },
): Promise<{ bytes: number; outUs: number[]; inUs: number[] }> {
  const [bytes = 0, ...times] = await loadBinding().referenceState(model, tokenIds, options.cells, options.rounds);
  return { bytes, outUs: times.filter((_, i) => i % 2 === 0), inUs: times.filter((_, i) => i % 2 === 1) };
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
