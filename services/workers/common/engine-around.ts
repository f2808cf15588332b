import type { GenerateRequest } from '#gen/stator/engine/v1/generate_pb.ts';
import type { RankLoad } from '#gen/stator/events/v1/events_pb.ts';
import type { ModelCard } from '#gen/stator/model/v1/model_pb.ts';
import type { Engine, EngineListener, EngineText, KvEventChange, SequenceHandle } from './engine.ts';
import type { EngineKv, PromptKeeper } from './engine-kv.ts';

/** An engine that does what the one inside it does; methods which that lacks are absent here too. */
export class EngineAround<E extends Engine = Engine> implements Engine {
  readonly embed?: NonNullable<Engine['embed']>;
  readonly score?: NonNullable<Engine['score']>;
  readonly loadAdapter?: NonNullable<Engine['loadAdapter']>;
  readonly unloadAdapter?: NonNullable<Engine['unloadAdapter']>;
  readonly listAdapters?: NonNullable<Engine['listAdapters']>;
  sleep?: NonNullable<Engine['sleep']>;
  readonly wake?: NonNullable<Engine['wake']>;
  releaseHandoff?: NonNullable<Engine['releaseHandoff']>;
  protected readonly inner: E;

  constructor(inner: E) {
    this.inner = inner;
    if (inner.embed !== undefined) this.embed = inner.embed.bind(inner);
    if (inner.score !== undefined) this.score = inner.score.bind(inner);
    if (inner.loadAdapter !== undefined) this.loadAdapter = inner.loadAdapter.bind(inner);
    if (inner.unloadAdapter !== undefined) this.unloadAdapter = inner.unloadAdapter.bind(inner);
    if (inner.listAdapters !== undefined) this.listAdapters = inner.listAdapters.bind(inner);
    if (inner.sleep !== undefined) this.sleep = inner.sleep.bind(inner);
    if (inner.wake !== undefined) this.wake = inner.wake.bind(inner);
    if (inner.releaseHandoff !== undefined) this.releaseHandoff = inner.releaseHandoff.bind(inner);
  }

  get card(): ModelCard {
    return this.inner.card;
  }

  get text(): EngineText | undefined {
    return this.inner.text;
  }

  get kv(): EngineKv | undefined {
    return this.inner.kv;
  }

  get prompts(): PromptKeeper | undefined {
    return this.inner.prompts;
  }

  start(
    listener: EngineListener,
    options: { signal: AbortSignal; onProgress?(fraction: number): void },
  ): Promise<void> {
    return this.inner.start(listener, options);
  }

  submit(handle: SequenceHandle, request: GenerateRequest): void {
    this.inner.submit(handle, request);
  }

  cancel(handle: SequenceHandle): void {
    this.inner.cancel(handle);
  }

  load(): RankLoad[] {
    return this.inner.load();
  }

  clearCache(): Promise<number> {
    return this.inner.clearCache();
  }

  kvSnapshot(): Iterable<KvEventChange> {
    return this.inner.kvSnapshot();
  }

  stop(): Promise<void> {
    return this.inner.stop();
  }
}
