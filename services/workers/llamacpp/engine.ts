import { availableParallelism } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { create } from '@bufbuild/protobuf';
import type { Logger } from 'pino';
import type { GenerateRequest } from '#gen/stator/engine/v1/generate_pb.ts';
import { type RankLoad, RankLoadSchema } from '#gen/stator/events/v1/events_pb.ts';
import { type Adapter, AdapterSchema, type ModelCard, Task } from '#gen/stator/model/v1/model_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import {
  type EngineHandle,
  engineCancel,
  engineClearCache,
  engineCreate,
  engineLoadAdapter,
  engineStop,
  engineSubmit,
  engineUnloadAdapter,
  type ModelInfo,
  modelFree,
  type NativeLoad,
  type NativeStep,
  type VocabTable,
} from '#native/llamacpp/index.ts';
import type { Engine, EngineListener, KvEventChange } from '../common/engine.ts';
import { buildCard } from './card.ts';
import { digestFile } from './digest.ts';
import { KvMirror } from './kv-mirror.ts';
import { type LoadedModel, openModel } from './model.ts';
import { fromNative, native } from './native-errors.ts';
import type { LlamacppOptions } from './options.ts';
import { toSubmitRequest } from './request.ts';
import { toStepBatch } from './step.ts';

const idle: NativeLoad = {
  runningSequences: 0,
  queuedSequences: 0,
  queuedTokens: 0,
  pendingPrefillTokens: 0,
  activeBlocks: 0,
  cachedBlocks: 0,
};

interface Running {
  readonly engine: EngineHandle;
  readonly card: ModelCard;
  readonly vocab: VocabTable;
  readonly contextLength: number;
  readonly kvBlocks: number;
}

/** A generating model on llama.cpp. `start` loads it; models that embed are EmbeddingEngine's. */
export class LlamacppEngine implements Engine {
  readonly #options: LlamacppOptions;
  readonly #log: Logger;
  readonly #mirror = new KvMirror();
  readonly #live = new Set<number>();
  readonly #adapters = new Map<string, Adapter>();
  #running: Running | undefined;
  #load: NativeLoad = idle;
  #stopping: Promise<void> | undefined;

  constructor(options: LlamacppOptions, log: Logger) {
    this.#options = options;
    this.#log = log;
  }

  get card(): ModelCard {
    return this.#started().card;
  }

  async start(
    listener: EngineListener,
    options: { signal: AbortSignal; onProgress?(fraction: number): void },
  ): Promise<void> {
    const file = await digestFile(this.#options.modelPath, this.#options.cacheDir, options.signal).catch((cause) => {
      throw unreadable(this.#options.modelPath, cause);
    });
    options.onProgress?.(0.2);
    const loaded = await openModel(this.#options, this.#log);
    options.onProgress?.(0.8);
    try {
      options.signal.throwIfAborted();
      const sizes = sizesOf(this.#options, loaded.info);
      const engine = await native(() =>
        engineCreate(loaded.model, nativeOptions(this.#options, sizes), (steps) => this.#onSteps(steps, listener)),
      );
      const kvBlocks = Math.floor(sizes.kvTokens / this.#options.blockSize);
      const cardSizes = { contextLength: sizes.contextLength, kvBlocks, batchTokens: sizes.batchTokens };
      const tasks = loaded.vocab.chatTemplate === null ? [Task.COMPLETION] : [Task.CHAT, Task.COMPLETION];
      const parts = { options: this.#options, info: loaded.info, vocab: loaded.vocab, file, pooling: undefined, tasks };
      const card = buildCard({ ...parts, sizes: cardSizes });
      this.#running = { engine, card, vocab: loaded.vocab, contextLength: sizes.contextLength, kvBlocks };
    } finally {
      // The engine holds its own share.
      modelFree(loaded.model);
    }
    options.onProgress?.(1);
  }

  submit(handle: number, request: GenerateRequest): void {
    const { engine, card, vocab, contextLength } = this.#started();
    const bound = this.#options.maxSequences + this.#options.maxQueuedSequences;
    if (this.#live.size >= bound) {
      throw new StatorError('overloaded', `The worker has ${bound} sequences already.`, { facts: { limit: bound } });
    }
    const submit = toSubmitRequest(handle, request, {
      vocabSize: vocab.size,
      contextLength,
      modelNames: new Set([card.name, ...card.aliases]),
      adapterNames: new Set(this.#adapters.keys()),
    });
    try {
      engineSubmit(engine, submit);
    } catch (thrown) {
      throw fromNative(thrown);
    }
    this.#live.add(handle);
  }

  cancel(handle: number): void {
    if (this.#running !== undefined && this.#live.has(handle)) engineCancel(this.#running.engine, handle);
  }

  load(): RankLoad[] {
    const waiting = Math.max(0, this.#live.size - this.#load.runningSequences);
    return [
      create(RankLoadSchema, {
        dataParallelRank: 0,
        runningSequences: this.#load.runningSequences,
        queuedSequences: waiting,
        activeKvBlocks: BigInt(this.#load.activeBlocks),
        cachedKvBlocks: BigInt(this.#load.cachedBlocks),
        totalKvBlocks: BigInt(this.#running?.kvBlocks ?? 0),
        pendingPrefillTokens: BigInt(this.#load.pendingPrefillTokens),
      }),
    ];
  }

  async clearCache(): Promise<number> {
    const { engine } = this.#started();
    return native(() => engineClearCache(engine));
  }

  kvSnapshot(): readonly KvEventChange[] {
    return this.#mirror.snapshot();
  }

  async loadAdapter(adapter: Adapter): Promise<{ alreadyLoaded: boolean }> {
    const { engine, card } = this.#started();
    if (adapter.name === '' || adapter.name.includes('\0'))
      throw StatorError.invalid('adapter.name', 'The adapter needs a name.');
    if (adapter.name === card.name || card.aliases.includes(adapter.name)) {
      throw StatorError.invalid('adapter.name', `${adapter.name} is the name of the model.`);
    }
    const file = adapterPath(adapter.uri);
    const { sha256 } = await digestFile(file, this.#options.cacheDir).catch((cause) => {
      throw unreadable(file, cause, 'adapter.uri');
    });
    const before = this.#adapters.get(adapter.name);
    if (before !== undefined && Buffer.compare(before.sha256, sha256) !== 0) {
      throw new StatorError('conflict', `Another adapter is loaded as ${adapter.name}.`, { field: 'adapter.name' });
    }
    const alreadyLoaded = await native(() => engineLoadAdapter(engine, adapter.name, file));
    this.#adapters.set(adapter.name, create(AdapterSchema, { name: adapter.name, uri: adapter.uri, sha256 }));
    return { alreadyLoaded };
  }

  async unloadAdapter(name: string): Promise<void> {
    const { engine } = this.#started();
    await native(() => engineUnloadAdapter(engine, name));
    this.#adapters.delete(name);
  }

  listAdapters(): readonly Adapter[] {
    return [...this.#adapters.values()];
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    const running = this.#running;
    this.#live.clear();
    if (running !== undefined) await native(() => engineStop(running.engine));
    this.#running = undefined;
  }

  #started(): Running {
    if (this.#running === undefined || this.#stopping !== undefined) {
      throw new StatorError('not_ready', 'The engine is not running.');
    }
    return this.#running;
  }

  #onSteps(steps: readonly NativeStep[], listener: EngineListener): void {
    for (const step of steps) {
      if (this.#stopping !== undefined) return;
      this.#load = step.load;
      for (const change of step.kv) this.#mirror.apply(change);
      for (const { handle } of step.finished) this.#live.delete(handle);
      listener.onStep(toStepBatch(step));
      if (step.fatal !== null) listener.onFatal(new StatorError('engine_failed', step.fatal));
    }
  }
}

interface EngineSizes {
  readonly contextLength: number;
  readonly kvTokens: number;
  readonly batchTokens: number;
}

/** Most tokens of context unless the configuration asks for more: a model's own length may need more memory than there is. */
const defaultContextLimit = 8192;
/** llama.cpp rounds contexts up to this many cells. */
const cellMultiple = 256;

function sizesOf(options: LlamacppOptions, info: ModelInfo): EngineSizes {
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

function nativeOptions(options: LlamacppOptions, sizes: EngineSizes) {
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
  };
}

/** Half the hardware threads: ggml's threads spin while they wait, and what they take from others makes decoding collapse. */
export function threadsOf(options: LlamacppOptions): number {
  return options.threads ?? Math.max(1, Math.floor(availableParallelism() / 2));
}

function adapterPath(uri: string): string {
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

export type { LoadedModel };
