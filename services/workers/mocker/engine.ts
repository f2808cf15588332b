import { create } from '@bufbuild/protobuf';
import { byteVocabulary, syntheticEmbedding } from '#core/scheduling/synthetic-token.ts';
import { createTokenTable } from '#core/tokens/token-table.ts';
import type { GenerateRequest } from '#gen/stator/engine/v1/generate_pb.ts';
import { type RankLoad, RankLoadSchema } from '#gen/stator/events/v1/events_pb.ts';
import type { Adapter, ModelCard } from '#gen/stator/model/v1/model_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { Engine, EngineListener, EngineText, KvEventChange, SequenceHandle } from '../common/engine.ts';
import { BlockPool } from './block-pool.ts';
import { mockerCard } from './card.ts';
import { defaultMockerOptions, type MockerOptions } from './options.ts';
import { Pacer } from './pacer.ts';
import { Scheduler } from './scheduler.ts';
import { MockerSequence } from './sequence.ts';
import { StepBuilder } from './step.ts';

/** The synthetic engine: it schedules and caches as a real one does, and computes its tokens from nothing but the prefix. */
export class MockerEngine implements Engine {
  readonly card: ModelCard;
  readonly text: EngineText = byteText();
  readonly embed?: NonNullable<Engine['embed']>;
  readonly score?: NonNullable<Engine['score']>;
  readonly #o: MockerOptions;
  readonly #pool: BlockPool;
  readonly #scheduler: Scheduler;
  readonly #pacer: Pacer;
  readonly #adapters = new Map<string, Adapter>();
  /** Output tokens of each sequence in a step. */
  readonly #rate: number;
  #listener: EngineListener | undefined;
  #produced = 0;
  #prefillCredit = 0;
  #lastStepMs = 0;
  #sweeping: NodeJS.Immediate | undefined;
  #asleep = false;
  #stopped = false;

  constructor(options: Partial<MockerOptions> = {}) {
    const o = { ...defaultMockerOptions, ...options };
    this.#o = o;
    this.card = mockerCard(o);
    this.#pool = new BlockPool(o.kvBlocks);
    this.#scheduler = new Scheduler(o, this.#pool);
    const rated = o.tokensPerSecond > 0;
    // With a bounded prefill rate a step must take some time, or the engine would spin while it waits for its budget.
    const leastMs = o.prefillTokensPerSecond > 0 ? 1 : 0;
    const intervalMs = Math.max(leastMs, o.stepMs > 0 || !rated ? o.stepMs : (1000 * o.burst) / o.tokensPerSecond);
    this.#rate = rated ? (o.tokensPerSecond * intervalMs) / 1000 : o.burst;
    this.#pacer = new Pacer(intervalMs, () => this.#step());
    if (o.embeddingDimensions === 0) return;
    this.embed = async (inputs) => inputs.map(({ tokenIds }) => syntheticEmbedding(tokenIds, o.embeddingDimensions));
    this.score = async (query, documents) => {
      const vector = syntheticEmbedding(query.tokenIds, o.embeddingDimensions);
      return documents.map(({ tokenIds }) => dot(vector, syntheticEmbedding(tokenIds, o.embeddingDimensions)));
    };
  }

  async start(
    listener: EngineListener,
    options: { signal: AbortSignal; onProgress?(fraction: number): void },
  ): Promise<void> {
    options.signal.throwIfAborted();
    this.#listener = listener;
    options.onProgress?.(1);
  }

  submit(handle: SequenceHandle, request: GenerateRequest): void {
    this.#checkOpen();
    const limit = this.card.limits?.contextLength ?? 0;
    const actual = request.tokenIds.length;
    if (actual === 0) throw StatorError.invalid('token_ids', 'token_ids must not be empty');
    if (actual >= limit) {
      const message = `the prompt has ${actual} tokens, which leaves no room in a context of ${limit}`;
      throw new StatorError('context_length_exceeded', message, { field: 'token_ids', facts: { limit, actual } });
    }
    if (request.adapter !== '' && !this.#adapters.has(request.adapter))
      throw StatorError.notFound(`adapter ${request.adapter} is not loaded`, { field: 'adapter' });
    const { maxSequences, maxQueuedSequences } = this.#o;
    if (this.#scheduler.size >= maxSequences + maxQueuedSequences) {
      const message = `${this.#scheduler.size} sequences run or wait already`;
      throw new StatorError('overloaded', message, { facts: { limit: maxSequences + maxQueuedSequences } });
    }
    this.#scheduler.add(new MockerSequence(handle, request, this.#o, performance.now()));
    this.#pacer.wake();
  }

  cancel(handle: SequenceHandle): void {
    if (this.#stopped || !this.#scheduler.cancel(handle)) return;
    // Not in the paced step: a slow engine must not make its caller wait.
    this.#sweeping ??= setImmediate(() => this.#sweep());
  }

  load(): RankLoad[] {
    const load = create(RankLoadSchema, {
      dataParallelRank: 0,
      runningSequences: this.#scheduler.running,
      queuedSequences: this.#scheduler.waiting.length,
      activeKvBlocks: BigInt(this.#pool.active),
      cachedKvBlocks: BigInt(this.#pool.cached),
      totalKvBlocks: BigInt(this.#pool.total),
      pendingPrefillTokens: BigInt(this.#scheduler.pendingPrefillTokens),
    });
    return [load];
  }

  async clearCache(): Promise<number> {
    const blocks = this.#pool.clear();
    const step = new StepBuilder(0);
    this.#deliver(step);
    return blocks;
  }

  kvSnapshot(): Iterable<KvEventChange> {
    return this.#pool.snapshot();
  }

  async loadAdapter(adapter: Adapter): Promise<{ alreadyLoaded: boolean }> {
    if (adapter.name === '') throw StatorError.invalid('adapter.name', 'adapter.name must not be empty');
    const alreadyLoaded = this.#adapters.has(adapter.name);
    this.#adapters.set(adapter.name, adapter);
    return { alreadyLoaded };
  }

  async unloadAdapter(name: string): Promise<void> {
    if (!this.#adapters.delete(name)) throw StatorError.notFound(`adapter ${name} is not loaded`, { field: 'name' });
  }

  listAdapters(): readonly Adapter[] {
    return [...this.#adapters.values()];
  }

  async sleep(_level: number): Promise<void> {
    this.#asleep = true;
    await this.clearCache();
  }

  async wake(): Promise<void> {
    this.#asleep = false;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#pacer.stop();
    clearImmediate(this.#sweeping);
  }

  #checkOpen(): void {
    if (this.#listener === undefined) throw new StatorError('not_ready', 'the engine has not started');
    if (this.#stopped) throw new StatorError('engine_failed', 'the engine has stopped');
    if (this.#asleep) throw new StatorError('not_ready', 'the engine sleeps');
  }

  #sweep(): void {
    this.#sweeping = undefined;
    if (this.#stopped) return;
    const step = new StepBuilder(0);
    this.#scheduler.sweep(step);
    this.#deliver(step);
  }

  #step(): boolean {
    const step = new StepBuilder(this.#scheduler.running * Math.ceil(this.#rate) + 16);
    this.#scheduler.sweep(step);
    this.#scheduler.step(step, this.#prefillBudget(step.startMs), this.#rate);
    this.#produced += step.tokens;
    if (this.#failInjected(step)) return false;
    this.#deliver(step);
    return this.#scheduler.size > 0;
  }

  #deliver(step: StepBuilder): void {
    const state = { queued: this.#scheduler.waiting, activeBlocks: this.#pool.active };
    this.#listener?.onStep(step.build(this.#pool.takeEvents(), state));
  }

  #prefillBudget(nowMs: number): number {
    const { prefillTokensPerSecond, maxBatchedTokens } = this.#o;
    if (prefillTokensPerSecond === 0) return maxBatchedTokens;
    const elapsedMs = Math.min(1000, nowMs - this.#lastStepMs);
    this.#lastStepMs = nowMs;
    const pending = this.#scheduler.pendingPrefillTokens > 0;
    this.#prefillCredit = pending ? this.#prefillCredit + (prefillTokensPerSecond * elapsedMs) / 1000 : 0;
    const budget = Math.min(maxBatchedTokens, Math.floor(this.#prefillCredit));
    this.#prefillCredit -= budget;
    return budget;
  }

  #failInjected(step: StepBuilder): boolean {
    const { failEngineAfterTokens, killAfterTokens } = this.#o.faults;
    if (killAfterTokens > 0 && this.#produced >= killAfterTokens) process.kill(process.pid, 'SIGKILL');
    if (failEngineAfterTokens === 0 || this.#produced < failEngineAfterTokens) return false;
    this.#deliver(step);
    this.#stopped = true;
    this.#pacer.stop();
    this.#listener?.onFatal(new Error(`injected: the engine failed after ${failEngineAfterTokens} tokens`));
    return true;
  }
}

/** The byte vocabulary both ways. */
function byteText(): EngineText {
  const { size, firstByte } = byteVocabulary;
  const data = Uint8Array.from({ length: 256 }, (_, byte) => byte);
  const offsets = Array.from({ length: size + 1 }, (_, id) => Math.max(0, id - firstByte));
  const special = { specialTokenIds: [0, 1, 2], eosTokenIds: [byteVocabulary.eos], stripLeadingSpace: false };
  return {
    table: createTokenTable({ data, offsets, ...special }),
    encode: (text) => Uint32Array.from(new TextEncoder().encode(text), (byte) => byte + firstByte),
  };
}

function dot(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, value, index) => sum + value * (b[index] ?? 0), 0);
}
