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
  type ModelHandle,
  modelFree,
  type NativeLoad,
  type NativeStep,
  type VocabTable,
} from '#native/llamacpp/index.ts';
import type { Engine, EngineListener, EngineText, KvEventChange } from '../common/engine.ts';
import type { PromptKeeper } from '../common/engine-kv.ts';
import { buildCard } from './card.ts';
import { digestFile, type FileDigest } from './digest.ts';
import { LlamacppKv } from './kv.ts';
import { KvMirror } from './kv-mirror.ts';
import { type LoadedModel, openModel } from './model.ts';
import { fromNative, native } from './native-errors.ts';
import type { LlamacppOptions } from './options.ts';
import { toSubmitRequest } from './request.ts';
import { adapterPath, nativeOptions, sizesOf, unreadable } from './sizes.ts';
import { toStepBatch } from './step.ts';
import { engineText } from './text.ts';

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
  readonly model: ModelHandle;
  readonly text: EngineText;
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
  /** Set by `start`, where blocks can leave and enter. */
  kv?: LlamacppKv;
  #running: Running | undefined;
  #load: NativeLoad = idle;
  #stopping: Promise<void> | undefined;

  constructor(options: LlamacppOptions, log: Logger) {
    this.#options = options;
    this.#log = log;
  }

  get prompts(): PromptKeeper | undefined {
    return this.kv;
  }

  get text(): EngineText {
    return this.#started().text;
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
      this.#running = await this.#open(loaded, file, listener);
    } catch (thrown) {
      modelFree(loaded.model);
      throw thrown;
    }
    options.onProgress?.(1);
  }

  async #open({ model, info, vocab }: LoadedModel, file: FileDigest, listener: EngineListener): Promise<Running> {
    const sizes = sizesOf(this.#options, info);
    const engine = await native(() =>
      engineCreate(model, nativeOptions(this.#options, sizes, file.sha256), (steps) => this.#onSteps(steps, listener)),
    );
    const kvBlocks = Math.floor(sizes.kvTokens / this.#options.blockSize);
    const tasks = vocab.chatTemplate === null ? [Task.COMPLETION] : [Task.CHAT, Task.COMPLETION];
    const cardSizes = { contextLength: sizes.contextLength, kvBlocks, batchTokens: sizes.batchTokens };
    const parts = { options: this.#options, info, vocab, file, pooling: undefined, tasks };
    const card = buildCard({ ...parts, sizes: cardSizes });
    const kv = LlamacppKv.open({
      engine,
      options: this.#options,
      model: { name: card.name, sha256: file.sha256 },
      mirror: this.#mirror,
      adapterDigest: (name) => this.#adapters.get(name)?.sha256 ?? null,
    });
    if (kv !== undefined) this.kv = kv;
    return { engine, model, card, vocab, text: engineText(model, vocab), contextLength: sizes.contextLength, kvBlocks };
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
      jsonIndent: this.#options.jsonIndent,
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
    if (running !== undefined) {
      await native(() => engineStop(running.engine));
      modelFree(running.model);
    }
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
