import type { Logger } from 'pino';
import { DoublingCounters } from '#core/blocks/offload/doubling-counters.ts';
import { frequencyAdmission, type OffloadFilter, passAll, presence } from '#core/blocks/offload/filter.ts';
import { type OffloadItem, OffloadPipeline } from '#core/blocks/offload/pipeline.ts';
import { TokenBucket } from '#core/blocks/offload/token-bucket.ts';
import type { GenerateRequest } from '#gen/stator/engine/v1/generate_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { MemoryAddon } from '#lib/sharedmem/addon.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import type { Engine, EngineListener, KvEventChange } from '../engine.ts';
import { EngineAround } from '../engine-around.ts';
import type { EngineKv, PromptKeeper } from '../engine-kv.ts';
import type { KvObserver, KvSource } from '../kv-admission.ts';
import { KvbmClient, type KvbmListener, type KvbmLocator } from './kvbm-client.ts';
import { defaultLockDirectory, type ProcessLocks } from './lock-file.ts';
import { type KvTierMetrics, kvTierMetrics } from './metrics.ts';
import { OffloadHolds } from './offload-holds.ts';
import { Offloader } from './offloader.ts';
import { RecomputeCost } from './recompute-cost.ts';
import { SequenceTokens } from './sequence-tokens.ts';
import type { KvTierConfig } from './settings.ts';
import { TierPresence } from './tier-presence.ts';
import { TierSource } from './tier-source.ts';

export interface KvTiersOptions {
  readonly kv: EngineKv;
  readonly prompts: () => PromptKeeper | undefined;
  /** Blocks of the engine's cache. */
  readonly cacheBlocks: () => number;
  readonly locator: KvbmLocator;
  readonly config: KvTierConfig;
  readonly instanceId: bigint;
  readonly name: string;
  readonly telemetry: Telemetry;
  /** Loaded once it is needed. */
  readonly memory: () => MemoryAddon & ProcessLocks;
  /** Why the tiers cannot be used, or null: they can. Not called before something is known. */
  readonly onState: (problem: string | null) => void;
}

/** The tiers below one engine: what comes from them, what goes to them, and what others are told of them. */
export class KvTiers {
  readonly source: KvSource;
  readonly observer: KvObserver;
  readonly #o: KvTiersOptions;
  readonly #log: Logger;
  readonly #presence = new TierPresence();
  readonly #client: KvbmClient;
  readonly #source: TierSource;
  readonly #holds: OffloadHolds;
  readonly #offloader: Offloader;
  #publish: (changes: readonly KvEventChange[]) => void = () => {};
  #metrics: KvTierMetrics | undefined;
  #isStopping = false;

  constructor(options: KvTiersOptions) {
    const { kv, config, telemetry } = options;
    this.#o = options;
    this.#log = telemetry.log.child({ part: 'kv-tiers' });
    this.#client = this.#createClient();
    const current = () => this.#client.current;
    const metrics = (): KvTierMetrics => this.#usable();
    const cost = new RecomputeCost(() => kv.format.blockTokens);
    this.#source = new TierSource({
      ...{ kv, current, metrics, log: this.#log },
      isOn: config.kvOnboard !== 'off',
      maxOnboards: config.kvOnboardSequences,
      timeoutMs: config.kvOnboardTimeoutMs,
      recomputeBlockUs: () => (config.kvOnboard === 'faster' ? cost.blockUs : undefined),
    });
    const isPresent = (namespace: number, hash: bigint): boolean => this.#presence.has(namespace, hash);
    this.#holds = new OffloadHolds({
      prompts: options.prompts,
      maxBlocks: () => Math.floor(options.cacheBlocks() * config.kvOffloadHoldShare),
      onUnheld: (blocks) => metrics().unheld(blocks),
      log: this.#log,
    });
    this.#offloader = new Offloader({
      ...{ kv, current, metrics, isPresent, holds: this.#holds, log: this.#log },
      pipeline: (onDisplaced) => pipelineOf(config, onDisplaced),
    });
    this.source = this.#source;
    const wants = (request: GenerateRequest): boolean =>
      this.isAttached && config.kvOffload !== 'off' && mayLeave(request);
    this.observer = new SequenceTokens(wants, {
      onPrefilled: (sequence, info) => {
        cost.add(sequence, info);
        this.#offloader.offer(sequence, sequence.request.tokenIds.length);
      },
      // The last token of output was not computed on.
      onFinished: (sequence) =>
        this.#offloader.offer(sequence, sequence.request.tokenIds.length + sequence.output.length - 1),
    });
  }

  get isAttached(): boolean {
    return this.#client.current !== undefined;
  }

  /** Once the engine has started, because its format is known only then. */
  start(model: string, publish: (changes: readonly KvEventChange[]) => void): void {
    this.#publish = publish;
    this.#metrics = kvTierMetrics(this.#o.telemetry.metrics, model, {
      attached: () => this.isAttached,
      offloadWaiting: () => this.#offloader.waiting,
      offloadHeld: () => this.#holds.blocks,
      onboarding: () => this.#source.onboarding,
      present: () => this.#presence.size,
    });
    try {
      this.#client.start();
    } catch (thrown) {
      const error = StatorError.from(thrown);
      this.#log.warn({ err: error }, 'KV tiers cannot be used on this machine: everything is computed');
      this.#o.onState(error.message);
    }
  }

  snapshot(): Iterable<KvEventChange> {
    return this.#presence.snapshot();
  }

  /** The engine's cache is emptied: nothing is held in it any more. */
  letGo(): Promise<void> {
    return this.#holds.close();
  }

  /** Writes back what waits, for a while, and then leaves the block manager. */
  async stop(): Promise<void> {
    if (this.isAttached) await this.#offloader.drain(this.#o.config.kvOffloadDrainMs);
    this.#isStopping = true;
    await this.#client.stop();
  }

  #usable(): KvTierMetrics {
    if (this.#metrics === undefined) throw new Error('the tiers have not started');
    return this.#metrics;
  }

  #createClient(): KvbmClient {
    const { kv, locator, config, instanceId, name, telemetry, memory } = this.#o;
    return new KvbmClient({
      ...{ kv, locator, instanceId, name, telemetry, memory },
      lockDirectory: config.kvLockDirectory ?? defaultLockDirectory(),
      attachTimeoutMs: config.kvbmAttachTimeoutMs,
      callTimeoutMs: config.kvbmTimeoutMs,
      backoff: { firstMs: Math.min(50, config.kvbmRetryMs), maximumMs: config.kvbmRetryMs },
      listener: this.#listener(),
    });
  }

  #listener(): KvbmListener {
    const { onState } = this.#o;
    let told = '';
    const degraded = (error: StatorError, text: string): void => {
      // It is the worker that leaves: nobody does without anything.
      if (this.#isStopping) return;
      // A refusal repeats itself at every try.
      if (error.message !== told) this.#log.warn({ err: error }, text);
      told = error.message;
      onState(error.message);
    };
    return {
      onAttached: (attachment) => {
        this.#log.info('attached to the KV block manager');
        told = '';
        onState(null);
        // What routers are told of begins with the namespace of most requests.
        attachment
          .namespace({ adapter: '', cacheSalt: '' })
          .catch((thrown: unknown) => this.#log.debug({ err: thrown }, 'the namespace could not be opened'));
      },
      onPresence: (events) => this.#tell(this.#presence.apply(events)),
      onDetached: (why) => {
        this.#tell(this.#presence.clear());
        degraded(why, 'the KV block manager is gone: everything is computed');
      },
      onRefused: (why) => degraded(why, 'the KV block manager cannot be used: everything is computed'),
    };
  }

  #tell(changes: readonly KvEventChange[]): void {
    if (changes.length > 0) this.#publish(changes);
  }
}

/** An engine that tells of its tiers as of its own cache, and that lives as long as they need it. */
export class TieredEngine extends EngineAround {
  readonly #tiers: KvTiers;

  constructor(inner: Engine, tiers: KvTiers) {
    super(inner);
    this.#tiers = tiers;
    const { sleep } = this;
    if (sleep === undefined) return;
    this.sleep = async (level) => {
      await tiers.letGo();
      await sleep(level);
    };
  }

  override async start(
    listener: EngineListener,
    options: { signal: AbortSignal; onProgress?(fraction: number): void },
  ): Promise<void> {
    await super.start(listener, options);
    if (this.kv === undefined) return;
    const none = new Uint32Array();
    const nothing = { handles: none, tokenIds: none, prefilled: [], finished: [], logprobs: [], forwardPass: null };
    this.#tiers.start(this.card.name, (kvEvents) => listener.onStep({ ...nothing, kvEvents }));
  }

  /** What waits to be written back goes with the rest. */
  override async clearCache(): Promise<number> {
    await this.#tiers.letGo();
    return super.clearCache();
  }

  override *kvSnapshot(): Generator<KvEventChange> {
    yield* super.kvSnapshot();
    yield* this.#tiers.snapshot();
  }

  override async stop(): Promise<void> {
    await this.#tiers.stop();
    await super.stop();
  }
}

/** Blocks with media are not told apart by their tokens, and who wants nothing cached wants nothing kept. */
function mayLeave({ cache, media }: GenerateRequest): boolean {
  return cache?.bypassPrefixCache !== true && media.length === 0;
}

function pipelineOf(config: KvTierConfig, onDisplaced: (item: OffloadItem) => void): OffloadPipeline {
  const { kvOffloadMibPerSecond, kvOffloadBatchBlocks, kvOffloadBatches, kvOffloadQueueBlocks } = config;
  const bytesPerSecond = kvOffloadMibPerSecond > 0 ? kvOffloadMibPerSecond * 2 ** 20 : Number.POSITIVE_INFINITY;
  const bucket = new TokenBucket(bytesPerSecond, Math.min(bytesPerSecond, 2 ** 30), performance.now());
  const settings = {
    maxBatch: kvOffloadBatchBlocks,
    minBatch: Math.min(8, kvOffloadBatchBlocks),
    flushMs: 2,
    maxConcurrent: kvOffloadBatches,
    maxWaiting: kvOffloadQueueBlocks,
  };
  return new OffloadPipeline(filterOf(config), bucket, settings, onDisplaced);
}

/** Computed twice within the interval, a block counts as frequent. */
const frequencyIntervalMs = 600_000;

function filterOf({ kvOffload, kvOffloadQueueBlocks }: KvTierConfig): OffloadFilter {
  if (kvOffload === 'all') return passAll();
  if (kvOffload !== 'frequent') return presence();
  return frequencyAdmission(new DoublingCounters(kvOffloadQueueBlocks, frequencyIntervalMs, performance.now()));
}
