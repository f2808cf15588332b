import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import { batchTime, decodeEventBatch } from '#core/kv-events/decode-batch.ts';
import type { EngineEventBatch } from '#core/kv-events/engine-event.ts';
import { type ConverterOptions, EventConverter } from '#core/kv-events/event-converter.ts';
import { MsgpackError } from '#core/kv-events/msgpack-reader.ts';
import { endpointOfRank } from '#lib/zmq/endpoint.ts';
import { followPublisher } from '#lib/zmq/subscription.ts';
import { hashChain } from '#native/tokens/index.ts';
import type { KvEventChange } from './engine.ts';
import { type EngineEventTally, engineEventTally } from './zmq-kv-metrics.ts';

export interface EngineKvEventsOptions extends Pick<ConverterOptions, 'blockSize' | 'maxBlocks' | 'placeholders'> {
  readonly model: string;
  /** The engine's PUB socket of data parallel rank 0; each rank's port is so many higher. */
  readonly endpoint: string;
  /** Its ROUTER socket for replays, of rank 0 as well. Absent: the engine replays nothing. */
  readonly replayEndpoint?: string | undefined;
  /** Whether the engine connects to the endpoint instead of opening it. */
  readonly bind: boolean;
  readonly topic: string;
  readonly firstRank: number;
  readonly ranks: number;
  /** Messages of a rank that may wait. */
  readonly maxWaiting: number;
  readonly replayTimeoutMs: number;
}

export interface EngineKvEventsContext {
  readonly log: Logger;
  readonly metrics: Registry;
  /** Changes of the engine's cache, in order. Called on the event loop. */
  onChanges(changes: readonly KvEventChange[]): void;
  /** No more events will come: the stream cannot be opened. */
  onFailure(error: Error): void;
}

interface RankStream {
  readonly rank: number;
  readonly endpoint: string;
  readonly replayEndpoint: string | undefined;
  /** By rank: a stream may name other ranks than its own. */
  readonly converters: Map<number, EventConverter>;
}

/** Follows the KV events that an engine publishes over ZeroMQ and turns them into the worker's own. */
export class EngineKvEvents {
  readonly #o: EngineKvEventsOptions;
  readonly #context: EngineKvEventsContext;
  readonly #tally: EngineEventTally;
  readonly #streams: readonly RankStream[];
  readonly #stop = new AbortController();
  #running: Promise<unknown> = Promise.resolve();

  /** Throws `invalid_argument` for endpoints that are none. */
  constructor(o: EngineKvEventsOptions, context: EngineKvEventsContext) {
    this.#o = o;
    this.#context = context;
    this.#tally = engineEventTally({ ...o, ...context });
    this.#streams = Array.from({ length: o.ranks }, (_, i) => {
      const rank = o.firstRank + i;
      const replayEndpoint = o.replayEndpoint === undefined ? undefined : endpointOfRank(o.replayEndpoint, rank);
      return { rank, endpoint: endpointOfRank(o.endpoint, rank), replayEndpoint, converters: new Map() };
    });
  }

  start(): void {
    this.#running = Promise.all(this.#streams.map((stream) => this.#follow(stream)));
  }

  /** Every block held now, as stored changes in prefix order. */
  snapshot(): readonly KvEventChange[] {
    return this.#converters().flatMap((converter) => converter.snapshot());
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #follow(stream: RankStream): Promise<void> {
    const { bind, topic, maxWaiting, replayTimeoutMs } = this.#o;
    const { endpoint, replayEndpoint } = stream;
    const subscription = {
      ...{ endpoint, replayEndpoint, bind, topic, maxWaiting, replayTimeoutMs },
      tally: this.#tally,
      timeOf: batchTime,
      onMessage: ({ payload }: { readonly payload: Uint8Array }) => this.#apply(stream, payload),
      onReset: () => this.#publish([...stream.converters.values()].map((converter) => converter.reset())),
    };
    try {
      await followPublisher(subscription, this.#stop.signal);
    } catch (error) {
      this.#context.onFailure(new Error(`the engine's KV events at ${endpoint} cannot be followed`, { cause: error }));
    }
  }

  #apply(stream: RankStream, payload: Uint8Array): void {
    const batch = this.#decode(payload);
    if (batch === null) return;
    for (const reason of batch.malformed) this.#tally.dropped('malformed', reason);
    const rank = batch.dataParallelRank ?? stream.rank;
    const converter = this.#converterOf(stream, rank);
    const changes: KvEventChange[] = [];
    for (const event of batch.events) {
      if (event.type === 'stored') this.#tally.storedSeen();
      if (converter === null) this.#tally.dropped('unknown_rank', `rank ${rank}`);
      else changes.push(...converter.convert(event));
    }
    this.#publish(changes);
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

  /** Null for a rank that the worker does not have. */
  #converterOf({ converters }: RankStream, rank: number): EventConverter | null {
    const known = converters.get(rank);
    if (known !== undefined) return known;
    if (rank < this.#o.firstRank || rank >= this.#o.firstRank + this.#o.ranks) return null;
    const { blockSize, maxBlocks, placeholders } = this.#o;
    const options = { dataParallelRank: rank, blockSize, maxBlocks, placeholders, hashChain };
    const converter = new EventConverter(options, this.#tally);
    converters.set(rank, converter);
    return converter;
  }

  #publish(changes: readonly KvEventChange[]): void {
    this.#tally.blocks(this.#converters().reduce((sum, converter) => sum + converter.blocks, 0));
    if (changes.length > 0) this.#context.onChanges(changes);
  }

  #converters(): EventConverter[] {
    return this.#streams.flatMap(({ converters }) => [...converters.values()]);
  }
}
