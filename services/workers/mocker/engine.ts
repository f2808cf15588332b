import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { byteVocabulary, syntheticEmbedding } from '#core/scheduling/synthetic-token.ts';
import { createTokenTable } from '#core/tokens/token-table.ts';
import type { GenerateRequest } from '#gen/stator/engine/v1/generate_pb.ts';
import type { RankLoad } from '#gen/stator/events/v1/events_pb.ts';
import type { Adapter, ModelCard } from '#gen/stator/model/v1/model_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { Engine, EngineListener, EngineText, KvEventChange, SequenceHandle } from '../common/engine.ts';
import type { KvHold, KvPrefix, PromptKeeper } from '../common/engine-kv.ts';
import { mockerCard } from './card.ts';
import { Handoffs } from './handoffs.ts';
import { exchangedPrompt, MockerKv } from './kv.ts';
import { defaultMockerOptions, type MockerOptions } from './options.ts';
import { MockerRank } from './rank.ts';
import { MockerSequence } from './sequence.ts';

/** The synthetic engine: it schedules and caches as a real one does, and computes its tokens from nothing but the prefix. */
export class MockerEngine implements Engine {
  readonly card: ModelCard;
  readonly text: EngineText = byteText();
  readonly embed?: NonNullable<Engine['embed']>;
  readonly score?: NonNullable<Engine['score']>;
  readonly kv?: MockerKv;
  readonly prompts?: PromptKeeper;
  readonly #o: MockerOptions;
  readonly #ranks: readonly MockerRank[];
  readonly #handoffs: Handoffs;
  readonly #adapters = new Map<string, Adapter>();
  #listener: EngineListener | undefined;
  #produced = 0;
  #asleep = false;
  #stopped = false;

  constructor(options: Partial<MockerOptions> = {}) {
    const o = { ...defaultMockerOptions, ...options };
    this.#o = o;
    this.card = mockerCard(o);
    this.#handoffs = new Handoffs(o.handoffTtlMs);
    this.#ranks = Array.from({ length: o.ranks }, (_, rank) => this.#createRank(rank));
    const [rank] = this.#ranks;
    if (o.kvBlockBytes > 0 && rank !== undefined) this.kv = this.#createKv(rank);
    if (o.simulation.prefixCaching !== false) this.prompts = { hold: (prefix) => this.#holdPrompt(prefix) };
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
    if (this.#o.startupMs > 0) await delay(this.#o.startupMs, undefined, { signal: options.signal });
    for (const rank of this.#ranks) await rank.start();
    this.#listener = listener;
    options.onProgress?.(1);
  }

  submit(handle: SequenceHandle, request: GenerateRequest): void {
    this.#checkOpen();
    if (request.tokenIds.length === 0) throw StatorError.invalid('token_ids', 'token_ids must not be empty');
    const limit = this.card.limits?.contextLength ?? 0;
    const actual = request.tokenIds.length;
    if (actual >= limit) {
      const message = `the prompt has ${actual} tokens, which leaves no room in a context of ${limit}`;
      throw new StatorError('context_length_exceeded', message, { field: 'token_ids', facts: { limit, actual } });
    }
    if (request.adapter !== '' && !this.#adapters.has(request.adapter))
      throw StatorError.notFound(`adapter ${request.adapter} is not loaded`, { field: 'adapter' });
    const rank = this.#rankFor(request);
    const { maxSequences, maxQueuedSequences } = this.#o;
    if (rank.size >= maxSequences + maxQueuedSequences) {
      const message = `${rank.size} sequences run or wait already`;
      throw new StatorError('overloaded', message, { facts: { limit: maxSequences + maxQueuedSequences } });
    }
    rank.submit(new MockerSequence(handle, request, this.#o, performance.now()));
  }

  cancel(handle: SequenceHandle): void {
    if (!this.#stopped) this.#ranks.some((rank) => rank.cancel(handle));
  }

  load(): RankLoad[] {
    return this.#ranks.map((rank) => rank.load());
  }

  async clearCache(): Promise<number> {
    return this.#ranks.reduce((blocks, rank) => blocks + rank.clearCache(), 0);
  }

  *kvSnapshot(): Generator<KvEventChange> {
    for (const rank of this.#ranks) yield* rank.snapshot();
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

  async releaseHandoff(handoffId: string): Promise<boolean> {
    return this.#handoffs.release(handoffId);
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
    this.#handoffs.stop();
    for (const rank of this.#ranks) rank.stop();
  }

  #createRank(rank: number): MockerRank {
    return new MockerRank({
      options: this.#o,
      rank,
      handoffs: this.#handoffs,
      deliver: (batch) => {
        this.#listener?.onStep(batch);
        this.#failIfDue();
      },
      onTokens: (count) => this.#onTokens(count),
    });
  }

  #createKv(rank: MockerRank): MockerKv {
    const { model, blockSize: blockTokens, kvBlockBytes: blockBytes } = this.#o;
    const adapterDigest = (name: string): Uint8Array | null => {
      const adapter = this.#adapters.get(name);
      if (adapter === undefined) return null;
      return adapter.sha256.length > 0 ? adapter.sha256 : createHash('sha256').update(name).digest();
    };
    return new MockerKv({ model, blockTokens, blockBytes, rank, adapterDigest });
  }

  /** Keeps a prompt at the rank that has most of it. */
  async #holdPrompt(prefix: KvPrefix): Promise<KvHold> {
    const prompt = exchangedPrompt(prefix, this.#o.blockSize);
    const blocks = prefix.sequenceHashes.length;
    const cached = (rank: MockerRank): number => rank.exchange.cached(prompt, blocks);
    const rank = this.#ranks.reduce((best, one) => (cached(one) > cached(best) ? one : best));
    return rank.holds.add(rank.exchange.hold(prompt, blocks));
  }

  /** The rank that the request names, otherwise the one with the fewest sequences. */
  #rankFor({ dataParallelRank }: GenerateRequest): MockerRank {
    const named = dataParallelRank === undefined ? undefined : this.#ranks[dataParallelRank];
    const [first, ...others] = this.#ranks;
    if (first === undefined) throw new StatorError('internal', 'the engine has no ranks');
    return named ?? others.reduce((least, rank) => (rank.size < least.size ? rank : least), first);
  }

  #checkOpen(): void {
    if (this.#listener === undefined) throw new StatorError('not_ready', 'the engine has not started');
    if (this.#stopped) throw new StatorError('engine_failed', 'the engine has stopped');
    if (this.#asleep) throw new StatorError('not_ready', 'the engine sleeps');
  }

  #onTokens(count: number): boolean {
    this.#produced += count;
    const { killAfterTokens } = this.#o.faults;
    if (killAfterTokens > 0 && this.#produced >= killAfterTokens) process.kill(process.pid, 'SIGKILL');
    return !this.#failsNow && !this.#stopped;
  }

  get #failsNow(): boolean {
    const { failEngineAfterTokens } = this.#o.faults;
    return failEngineAfterTokens > 0 && this.#produced >= failEngineAfterTokens;
  }

  #failIfDue(): void {
    if (!this.#failsNow || this.#stopped) return;
    void this.stop();
    const after = this.#o.faults.failEngineAfterTokens;
    this.#listener?.onFatal(new Error(`injected: the engine failed after ${after} tokens`));
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
