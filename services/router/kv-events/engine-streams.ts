import type { Counter, Gauge } from 'prom-client';
import type { KvChange } from '#core/kv-events/event-converter.ts';
import type { KvIndex } from '#core/kv-index/kv-index.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { counterOf, gaugeOf } from '#lib/telemetry/metrics.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import { EngineKvEvents } from '#services/engine-events/zmq-kv-events.ts';
import { applyChange } from './apply-change.ts';
import type { KvSlots, KvSource } from './kv-slots.ts';
import { type KvEventMetrics, kvEventMetrics } from './metrics.ts';
import type { KvEventSettings } from './settings.ts';
import { checkedEndpoint } from './stream-endpoint.ts';
import type { StreamSettings } from './stream-settings.ts';

/** An engine's own stream of the KV events of one rank. */
export interface EngineStream {
  readonly source: KvSource;
  /** ZeroMQ address of its PUB socket, the rank's own. */
  readonly endpoint: string;
  /** Of its ROUTER socket for replays. Empty: it replays nothing. */
  readonly replayEndpoint: string;
}

export interface FollowedStream extends EngineStream {
  /** Whether the engine is connected now. */
  readonly connected: boolean;
}

/** What a caller calls the parts of a stream; errors name them. */
export interface StreamFields {
  readonly worker: string;
  readonly endpoint: string;
  readonly replayEndpoint: string;
  readonly blockSize: string;
}

export interface EngineStreamsOptions {
  readonly index: KvIndex;
  readonly slots: KvSlots;
  readonly settings: StreamSettings & Pick<KvEventSettings, 'kvEventSourceSeconds'>;
  readonly telemetry: Pick<Telemetry, 'log' | 'metrics'>;
  /** Tokens in a block of the model; undefined: it is not known otherwise. */
  blockSizeOf(model: string): number | undefined;
  /** The engine told of blocks that it has computed. */
  onStored(source: KvSource, events: number, blocks: number): void;
  /** Asked after every message, see EngineKvEventsContext. */
  pace(blocks: number): Promise<void> | undefined;
  /** A rank is not followed any more. */
  onClosed(source: KvSource): void;
}

interface Followed extends EngineStream {
  readonly slot: number;
  readonly events: EngineKvEvents;
  /** Says when nobody answers. */
  readonly lookout: NodeJS.Timeout;
}

/** A block of an engine is decoded and hashed before it is applied, which takes so many times as long as applying it. */
const decodingCost = 4;

/** Engines whose own event streams the router follows, with no worker of ours in between. Bounded. */
export class EngineStreams {
  readonly #o: EngineStreamsOptions;
  readonly #metrics: KvEventMetrics;
  readonly #count: Gauge;
  readonly #failures: Counter;
  readonly #followed = new Map<string, Followed>();
  readonly #ending = new Set<Promise<void>>();
  #closed = false;

  constructor(options: EngineStreamsOptions) {
    const { settings, telemetry } = options;
    this.#o = options;
    this.#metrics = kvEventMetrics(telemetry.metrics);
    const name = 'stator_router_engine_stream';
    this.#count = gaugeOf(telemetry.metrics, `${name}s`, "Engines' own event streams that are followed.");
    this.#failures = counterOf(telemetry.metrics, `${name}_failures_total`, 'Streams given up because of an error.');
    gaugeOf(telemetry.metrics, `${name}_limit`, 'Most of them.').set(settings.maxEngineStreams);
    this.#count.set(0);
  }

  /**
   * Follows a stream from now on; false: that is done already. Throws `invalid_argument` for addresses and block sizes that
   * do not fit, `conflict` where events of the rank come from elsewhere, `overloaded` for one too many.
   */
  follow(stream: EngineStream, fields: StreamFields): boolean {
    const key = keyOf(stream.source);
    const known = this.#followed.get(key);
    if (known !== undefined && isSame(known, stream)) return false;
    this.#check(stream, fields, known);
    const slot = this.#allocate();
    this.#o.slots.publish(stream.source, slot);
    const events = this.#read(stream, () => followed);
    const followed: Followed = { ...stream, slot, events, lookout: this.#lookOut(stream, events) };
    this.#followed.set(key, followed);
    this.#count.set(this.#followed.size);
    followed.events.start();
    return true;
  }

  /** Follows the model's ranks of a worker no longer, and forgets their blocks; a rank alone where one is named. Returns how many. */
  unfollow(model: string, instanceId: bigint, dataParallelRank?: number): number {
    return this.#endAll(
      ({ source }) =>
        source.model === model &&
        source.instanceId === instanceId &&
        (dataParallelRank === undefined || source.dataParallelRank === dataParallelRank),
    );
  }

  /** The worker is gone, whatever it served. */
  unfollowWorker(instanceId: bigint): void {
    this.#endAll(({ source }) => source.instanceId === instanceId);
  }

  all(): FollowedStream[] {
    return [...this.#followed.values()].map(({ events, source, endpoint, replayEndpoint }) => ({
      ...{ source, endpoint, replayEndpoint },
      connected: events.connected,
    }));
  }

  /** Tokens in a block of the model's streams; undefined: there are none. */
  blockSizeOf(model: string): number | undefined {
    for (const { source } of this.#followed.values()) if (source.model === model) return source.blockSize;
    return undefined;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#endAll(() => true);
    await Promise.all(this.#ending);
  }

  #check({ source, endpoint, replayEndpoint }: EngineStream, fields: StreamFields, known: Followed | undefined): void {
    const { settings, slots, blockSizeOf } = this.#o;
    if (this.#closed) throw new StatorError('draining', 'The router is stopping.');
    checkedEndpoint(endpoint, fields.endpoint, settings.engineStreamTransports);
    if (replayEndpoint !== '') checkedEndpoint(replayEndpoint, fields.replayEndpoint, settings.engineStreamTransports);
    const { instanceId, dataParallelRank, model, blockSize } = source;
    if (known !== undefined)
      throw new StatorError(
        'conflict',
        `Rank ${dataParallelRank} of ${instanceId} is followed already, at ${known.endpoint} in blocks of ${known.source.blockSize} tokens.`,
        { field: fields.endpoint },
      );
    if (slots.slotOf(source) >= 0)
      throw new StatorError('conflict', `Events of rank ${dataParallelRank} of ${instanceId} come in another way.`, {
        field: fields.worker,
      });
    const expected = blockSizeOf(model);
    if (expected !== undefined && expected > 0 && expected !== blockSize)
      throw StatorError.invalid(
        fields.blockSize,
        `\`${fields.blockSize}\`: blocks of the model \`${model}\` have ${expected} tokens here, not ${blockSize}`,
      );
    if (this.#followed.size < settings.maxEngineStreams) return;
    throw new StatorError('overloaded', `The router follows ${this.#followed.size} streams, the most that it takes.`, {
      facts: { limit: settings.maxEngineStreams },
    });
  }

  #allocate(): number {
    try {
      return this.#o.slots.allocate();
    } catch (thrown) {
      if (!(thrown instanceof RangeError)) throw thrown;
      throw new StatorError('overloaded', `The index has no room for another rank: ${thrown.message}`);
    }
  }

  #read({ source, endpoint, replayEndpoint }: EngineStream, followed: () => Followed): EngineKvEvents {
    const { settings, telemetry } = this.#o;
    const { instanceId, dataParallelRank: rank, model, blockSize } = source;
    const log = telemetry.log.child({ worker: instanceId.toString(16), rank });
    return new EngineKvEvents(
      {
        ...{ model, blockSize, bind: false, topic: '' },
        ranks: [{ rank, endpoint, replayEndpoint: replayEndpoint === '' ? undefined : replayEndpoint }],
        maxBlocks: settings.engineStreamBlocks,
        placeholders: { image: null, video: null },
        maxWaiting: settings.engineStreamMessages,
        replayTimeoutMs: settings.engineStreamReplayMs,
      },
      {
        log,
        metrics: telemetry.metrics,
        prefix: 'stator_router_engine_event',
        labels: {},
        pace: (blocks) => this.#o.pace(blocks * decodingCost),
        onChanges: (changes) => this.#apply(followed(), changes),
        onFailure: (err) => {
          this.#failures.inc();
          log.error({ err, model }, "an engine's KV events are not followed any more");
          this.#end(followed());
        },
      },
    );
  }

  #lookOut({ source, endpoint }: EngineStream, events: EngineKvEvents): NodeJS.Timeout {
    const { settings, telemetry } = this.#o;
    const seconds = settings.kvEventSourceSeconds;
    const say = (): void => {
      if (events.connected) return;
      const { instanceId, model, dataParallelRank: rank } = source;
      telemetry.log.warn(
        { worker: instanceId.toString(16), model, rank, endpoint, seconds },
        "nobody publishes KV events at an engine's endpoint: requests are routed as if nothing were cached there",
      );
    };
    return setTimeout(say, seconds * 1000).unref();
  }

  #apply(followed: Followed, changes: readonly KvChange[]): void {
    const { index, slots, telemetry, onStored } = this.#o;
    const { source, slot } = followed;
    // What was on its way when the stream was given up.
    if (this.#followed.get(keyOf(source)) !== followed) return;
    if (slots.slotOf(source) !== slot) {
      const { instanceId, model, dataParallelRank } = source;
      const names = { worker: instanceId.toString(16), model, rank: dataParallelRank };
      telemetry.log.warn(names, "an engine's KV events are not followed any more: the worker tells them itself now");
      this.#end(followed);
      return;
    }
    let events = 0;
    let blocks = 0;
    for (const { change } of changes) {
      events += Number(change.case === 'stored');
      blocks += applyChange(index, slot, change, this.#metrics);
    }
    if (events > 0) onStored(source, events, blocks);
  }

  #endAll(isMeant: (stream: Followed) => boolean): number {
    const meant = [...this.#followed.values()].filter(isMeant);
    for (const followed of meant) this.#end(followed);
    return meant.length;
  }

  #end({ source, slot, events, lookout }: Followed): void {
    const { slots, onClosed } = this.#o;
    if (!this.#followed.delete(keyOf(source))) return;
    this.#count.set(this.#followed.size);
    clearTimeout(lookout);
    if (slots.slotOf(source) === slot) slots.withdraw(source);
    onClosed(source);
    const ended = events.stop().finally(() => this.#ending.delete(ended));
    this.#ending.add(ended);
  }
}

function keyOf({ instanceId, dataParallelRank, model }: KvSource): string {
  return `${instanceId}/${dataParallelRank}/${model}`;
}

function isSame(a: EngineStream, b: EngineStream): boolean {
  return (
    a.endpoint === b.endpoint && a.replayEndpoint === b.replayEndpoint && a.source.blockSize === b.source.blockSize
  );
}
