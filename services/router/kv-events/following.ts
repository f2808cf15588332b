import type { Logger } from 'pino';
import type { KvIndex } from '#core/kv-index/kv-index.ts';
import type { Instance } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { Backoff } from '#lib/discovery/backoff.ts';
import type { RpcClient } from '#lib/rpc/client.ts';
import type { KvEventFrames } from '#lib/rpc/kv-event-frames.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import { FollowedWorker } from './followed-worker.ts';
import { KvSlots, type KvSource } from './kv-slots.ts';
import { type KvEventMetrics, kvEventMetrics } from './metrics.ts';
import { NeverMatched, type RoutedPrompt } from './never-matched.ts';
import { Permits } from './permits.ts';
import type { KvEventSettings } from './settings.ts';
import { TurnBudget } from './turn-budget.ts';

/** Milliseconds between two warnings about the same worker. */
const warningMs = 60_000;

/** Shortest wait before a stream is opened again. */
const firstRetryMs = 100;

export interface KvFollowingOptions {
  readonly index: KvIndex;
  readonly settings: KvEventSettings;
  readonly telemetry: Pick<Telemetry, 'log' | 'metrics'>;
  /** Monotonic milliseconds. */
  readonly nowMs: () => number;
  /** Opens a connection to a worker. */
  connect(instance: Instance): RpcClient<typeof KvEventFrames>;
}

/** The router's view of its workers' caches, kept up to date. */
export interface KvFollowing {
  readonly slots: KvSlots;
  /** Follows a worker as its cards say, or what changed of it. */
  follow(instance: Instance): void;
  /** The worker is gone: look-ups do not find it from now on. */
  unfollow(instanceId: bigint): void;
  /** Whether it is known what the rank has cached, apart from news on its way. */
  isFollowed(instanceId: bigint, dataParallelRank: number, model: string): boolean;
  /** A prompt was sent to the rank of a slot, which was known to have so many of its blocks in any tier. */
  onRouted(slot: number, hashes: Uint8Array, matchedBlocks: number, prompt?: RoutedPrompt): void;
  /** A rank that is followed in another way computed blocks. */
  onStored(source: KvSource, events: number, blocks: number): void;
  /** Its next message waits for the promise: all streams together get so many blocks in a turn of the event loop. */
  pace(blocks: number): Promise<void> | undefined;
  /** It is not followed any more. */
  onClosed(source: KvSource): void;
  close(): void;
}

export function startKvFollowing(options: KvFollowingOptions): KvFollowing {
  return new Following(options);
}

class Following implements KvFollowing {
  readonly slots: KvSlots;
  readonly #o: KvFollowingOptions;
  readonly #log: Logger;
  readonly #metrics: KvEventMetrics;
  readonly #budget: TurnBudget;
  readonly #permits: Permits;
  readonly #neverMatched: NeverMatched;
  readonly #workers = new Map<bigint, FollowedWorker>();
  readonly #warnedMs = new Map<string, number>();
  readonly #pulse: NodeJS.Timeout;
  #reclaiming = false;
  #closed = false;

  constructor(options: KvFollowingOptions) {
    const { index, settings, telemetry } = options;
    this.#o = options;
    this.#log = telemetry.log;
    this.#metrics = kvEventMetrics(telemetry.metrics);
    this.#budget = new TurnBudget(settings.kvEventBlocksPerTurn);
    this.#permits = new Permits(settings.kvEventSnapshots);
    this.#neverMatched = new NeverMatched({
      minEvents: settings.neverMatchedEvents,
      minRequests: settings.neverMatchedRequests,
    });
    this.slots = new KvSlots(index, () => void this.#reclaim());
    this.#pulse = setInterval(() => this.#look(), settings.kvEventPulseMs).unref();
    this.#look();
  }

  follow(instance: Instance): void {
    if (this.#closed || !this.#o.settings.kvEvents) return;
    const known = this.#workers.get(instance.instanceId);
    if (known?.update(instance) === true) return;
    known?.close();
    const { index, settings, nowMs } = this.#o;
    const worker = new FollowedWorker(instance, {
      connect: (to) => this.#o.connect(to),
      log: this.#log,
      follower: {
        index,
        slots: this.slots,
        budget: this.#budget,
        blocksPerTurn: settings.kvEventBlocksPerTurn,
        permits: this.#permits,
        metrics: this.#metrics,
        log: this.#log,
        nowMs,
      },
      backoff: () => new Backoff({ firstMs: firstRetryMs, maximumMs: settings.kvEventRetryMs }),
      onStored: (source, events, blocks) => this.#neverMatched.stored(source, events, blocks),
      onClosed: (source) => this.#neverMatched.forget(source),
    });
    this.#workers.set(instance.instanceId, worker);
  }

  unfollow(instanceId: bigint): void {
    this.#workers.get(instanceId)?.close();
    this.#workers.delete(instanceId);
    for (const topic of ['source', 'match']) this.#warnedMs.delete(`${topic} ${instanceId}`);
  }

  isFollowed(instanceId: bigint, dataParallelRank: number, model: string): boolean {
    return this.slots.slotOf({ instanceId, dataParallelRank, model }) >= 0;
  }

  onRouted(slot: number, hashes: Uint8Array, matchedBlocks: number, prompt?: RoutedPrompt): void {
    const source = this.slots.sourceOf(slot);
    if (source !== undefined) this.#neverMatched.routed(source, hashes, matchedBlocks, prompt);
  }

  onStored(source: KvSource, events: number, blocks: number): void {
    this.#neverMatched.stored(source, events, blocks);
  }

  pace(blocks: number): Promise<void> | undefined {
    return this.#budget.take(blocks);
  }

  onClosed(source: KvSource): void {
    this.#neverMatched.forget(source);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#pulse);
    for (const worker of this.#workers.values()) worker.close();
    this.#workers.clear();
  }

  /** Forgets what released slots left, a piece in each turn of the event loop. */
  async #reclaim(): Promise<void> {
    if (this.#reclaiming) return;
    this.#reclaiming = true;
    const { index, settings } = this.#o;
    do await this.#budget.take(settings.kvEventBlocksPerTurn);
    while (index.reclaim(settings.kvEventBlocksPerTurn));
    this.#reclaiming = false;
  }

  /** Everything that is looked at now and then, for all workers at once. */
  #look(): void {
    const { kvEventSourceSeconds, kvEventSilenceSeconds } = this.#o.settings;
    const nowMs = this.#o.nowMs();
    const limitMs = kvEventSourceSeconds * 1000;
    const states = { inSync: 0, syncing: 0, noSource: 0, blockSizeUnknown: 0 };
    for (const worker of this.#workers.values()) {
      worker.checkSilence(nowMs, limitMs, kvEventSilenceSeconds * 1000);
      const state = worker.state(nowMs, limitMs);
      if (state === 'nothing') continue;
      states[state]++;
      if (state === 'noSource') this.#warnOfSource(worker, nowMs);
    }
    for (const state of ['inSync', 'syncing', 'noSource', 'blockSizeUnknown'] as const)
      this.#metrics[state].set(states[state]);
    this.#metrics.sourceMismatch.set(states.noSource);
    this.#lookForMismatches(nowMs);
    this.#measure();
  }

  #warnOfSource(worker: FollowedWorker, nowMs: number): void {
    if (!this.#mayWarn(`source ${worker.instanceId}`, nowMs)) return;
    this.#log.warn(
      { worker: worker.instanceId.toString(16), seconds: this.#o.settings.kvEventSourceSeconds },
      'a worker promises KV events and sends none: requests go to it without regard to what it has cached',
    );
  }

  #lookForMismatches(nowMs: number): void {
    const mismatches = this.#neverMatched.all();
    this.#metrics.neverMatched.set(new Set(mismatches.map(({ source }) => source.instanceId)).size);
    for (const { source, cause, because, storedEvents, requests } of mismatches) {
      if (!this.#mayWarn(`match ${source.instanceId}`, nowMs)) continue;
      const { instanceId, model, dataParallelRank } = source;
      this.#log.warn(
        { worker: instanceId.toString(16), model, dataParallelRank, cause, storedEvents, requests },
        `a worker's KV events arrive but never match a request: ${because}`,
      );
    }
  }

  #mayWarn(topic: string, nowMs: number): boolean {
    if (nowMs - (this.#warnedMs.get(topic) ?? -Infinity) < warningMs) return false;
    this.#warnedMs.set(topic, nowMs);
    return true;
  }

  #measure(): void {
    const { blocks, entries, bytes, slots, maxBlocks } = this.#o.index.stats;
    this.#metrics.blocks.set(blocks);
    this.#metrics.entries.set(entries);
    this.#metrics.bytes.set(bytes);
    this.#metrics.slots.set(slots);
    this.#metrics.limit.set(maxBlocks);
  }
}
