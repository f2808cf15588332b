import { batchTime, decodeEventBatch } from '#core/kv-events/decode-batch.ts';
import type { EngineEventBatch } from '#core/kv-events/engine-event.ts';
import { type ConverterOptions, EventConverter, type KvChange } from '#core/kv-events/event-converter.ts';
import { MsgpackError } from '#core/kv-events/msgpack-reader.ts';
import { endpointOfRank } from '#lib/zmq/endpoint.ts';
import { followPublisher } from '#lib/zmq/subscription.ts';
import { hashChain } from '#native/tokens/index.ts';
import { type EngineEventTally, engineEventTally, type TallyOptions } from './zmq-kv-metrics.ts';

/** Where the engine tells of one data parallel rank. */
export interface RankEndpoints {
  readonly rank: number;
  /** Its PUB socket. */
  readonly endpoint: string;
  /** Its ROUTER socket for replays. Absent: it replays nothing. */
  readonly replayEndpoint?: string | undefined;
}

export interface EngineKvEventsOptions extends Pick<ConverterOptions, 'blockSize' | 'maxBlocks' | 'placeholders'> {
  readonly model: string;
  readonly ranks: readonly RankEndpoints[];
  /** Whether the engine connects to its endpoints instead of opening them. */
  readonly bind: boolean;
  readonly topic: string;
  /** Messages of a rank that may wait. */
  readonly maxWaiting: number;
  readonly replayTimeoutMs: number;
}

export interface EngineKvEventsContext extends Pick<TallyOptions, 'log' | 'metrics' | 'prefix' | 'labels'> {
  /** Changes of the engine's cache, in order. Called on the event loop. */
  onChanges(changes: readonly KvChange[]): void;
  /** Asked after every message, with the blocks that it named: the next one waits for the promise. Absent: none waits. */
  pace?(blocks: number): Promise<void> | undefined;
  /** No more events will come: the stream cannot be opened. */
  onFailure(error: Error): void;
}

interface RankStream extends RankEndpoints {
  connected: boolean;
  /** By rank: a stream may name other ranks than its own. */
  readonly converters: Map<number, EventConverter>;
}

/** Endpoints of ranks next to each other, from those of rank 0: engines add the rank to the port. Throws `invalid_argument`. */
export function rankEndpoints(o: {
  readonly endpoint: string;
  readonly replayEndpoint?: string | undefined;
  readonly firstRank: number;
  readonly ranks: number;
}): RankEndpoints[] {
  return Array.from({ length: o.ranks }, (_, i) => {
    const rank = o.firstRank + i;
    const replayEndpoint = o.replayEndpoint === undefined ? undefined : endpointOfRank(o.replayEndpoint, rank);
    return { rank, endpoint: endpointOfRank(o.endpoint, rank), replayEndpoint };
  });
}

/** Follows the KV events that an engine publishes over ZeroMQ and turns them into ours. */
export class EngineKvEvents {
  readonly #o: EngineKvEventsOptions;
  readonly #context: EngineKvEventsContext;
  readonly #tally: EngineEventTally;
  readonly #streams: readonly RankStream[];
  readonly #stop = new AbortController();
  #running: Promise<unknown> = Promise.resolve();

  constructor(o: EngineKvEventsOptions, context: EngineKvEventsContext) {
    this.#o = o;
    this.#context = context;
    this.#tally = engineEventTally({ ...o, ...context });
    this.#streams = o.ranks.map((rank) => ({ ...rank, connected: false, converters: new Map() }));
  }

  start(): void {
    this.#running = Promise.all(this.#streams.map((stream) => this.#follow(stream)));
  }

  /** Whether the engine is connected, every rank of it. */
  get connected(): boolean {
    return this.#streams.every((stream) => stream.connected);
  }

  /** Every block held now, as stored changes in prefix order. */
  snapshot(): readonly KvChange[] {
    return this.#converters().flatMap((converter) => converter.snapshot());
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    this.#tally.end();
  }

  async #follow(stream: RankStream): Promise<void> {
    const { bind, topic, maxWaiting, replayTimeoutMs } = this.#o;
    const { endpoint, replayEndpoint } = stream;
    const subscription = {
      ...{ endpoint, replayEndpoint, bind, topic, maxWaiting, replayTimeoutMs },
      tally: this.#tally,
      timeOf: batchTime,
      onMessage: ({ payload }: { readonly payload: Uint8Array }) => this.#apply(stream, payload),
      onConnection: (connected: boolean) => {
        if (this.#stop.signal.aborted) return;
        stream.connected = connected;
        this.#tally.connected(this.#streams.filter((other) => other.connected).length);
      },
      onReset: () => this.#publish([...stream.converters.values()].map((converter) => converter.reset())),
    };
    try {
      await followPublisher(subscription, this.#stop.signal);
    } catch (error) {
      this.#context.onFailure(new Error(`the engine's KV events at ${endpoint} cannot be followed`, { cause: error }));
    }
  }

  #apply(stream: RankStream, payload: Uint8Array): void | Promise<void> {
    const batch = this.#decode(payload);
    if (batch === null) return this.#context.pace?.(1);
    for (const reason of batch.malformed) this.#tally.dropped('malformed', reason);
    const rank = batch.dataParallelRank ?? stream.rank;
    const converter = this.#converterOf(stream, rank);
    const changes: KvChange[] = [];
    let blocks = 1;
    for (const event of batch.events) {
      if (event.type === 'stored') this.#tally.storedSeen();
      if ('blockHashes' in event) blocks += event.blockHashes.length;
      if (converter === null) this.#tally.dropped('unknown_rank', `rank ${rank}`);
      else changes.push(...converter.convert(event));
    }
    this.#publish(changes);
    return this.#context.pace?.(blocks);
  }

  #decode(payload: Uint8Array): EngineEventBatch | null {
    try {
      return decodeEventBatch(payload);
    } catch (error) {
      if (!(error instanceof MsgpackError)) throw error;
      this.#tally.garbled();
      this.#tally.dropped('malformed', error.message);
      return null;
    }
  }

  /** Null for a rank that is not followed. */
  #converterOf({ converters }: RankStream, rank: number): EventConverter | null {
    const known = converters.get(rank);
    if (known !== undefined) return known;
    if (!this.#o.ranks.some((followed) => followed.rank === rank)) return null;
    const { blockSize, maxBlocks, placeholders } = this.#o;
    const options = { dataParallelRank: rank, blockSize, maxBlocks, placeholders, hashChain };
    const converter = new EventConverter(options, this.#tally);
    converters.set(rank, converter);
    return converter;
  }

  #publish(changes: readonly KvChange[]): void {
    this.#tally.blocks(this.#converters().reduce((sum, converter) => sum + converter.blocks, 0));
    if (changes.length > 0) this.#context.onChanges(changes);
  }

  #converters(): EventConverter[] {
    return this.#streams.flatMap(({ converters }) => [...converters.values()]);
  }
}
