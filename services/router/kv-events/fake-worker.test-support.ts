import { create, toBinary } from '@bufbuild/protobuf';
import { packHashes } from '#core/tokens/packed-hashes.ts';
import { type Instance, InstanceSchema, ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import {
  type KvEventFrame,
  KvEventFrameSchema,
  type SubscribeKvEventsRequest,
} from '#gen/stator/engine/v1/engine_pb.ts';
import { type KvEvent, KvEventBatchSchema, KvEventSchema } from '#gen/stator/events/v1/events_pb.ts';
import { ModelCardSchema } from '#gen/stator/model/v1/model_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { KvEventFrames } from '#lib/rpc/kv-event-frames.ts';
import { type RpcServer, startRpcServer } from '#lib/rpc/server.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';

export interface FakeWorkerOptions {
  readonly instanceId: bigint;
  readonly model?: string;
  readonly blockSize?: number;
  readonly ranks?: number;
  /** Events that can be had again. */
  readonly ring?: number;
  /** Number before the first event's. */
  readonly start?: number;
  /** Blocks in one message of a snapshot. */
  readonly chunkBlocks?: number;
}

/** What one rank has cached, and what it told. */
export class FakeRank {
  readonly rank: number;
  readonly blocks = new Set<bigint>();
  readonly events: KvEvent[] = [];
  readonly #start: number;
  readonly #onChange: () => void;

  constructor(rank: number, start: number, onChange: () => void) {
    this.rank = rank;
    this.#start = start;
    this.#onChange = onChange;
  }

  get newest(): number {
    return this.#start + this.events.length;
  }

  /** A chain of blocks: in a prompt of its own unless there is a parent. */
  store(hashes: readonly bigint[], parent?: bigint): void {
    for (const hash of hashes) this.blocks.add(hash);
    const value = {
      sequenceHashes: packHashes(BigUint64Array.from(hashes)),
      ...(parent !== undefined && { parentSequenceHash: parent }),
    };
    this.#tell({ case: 'stored', value });
  }

  remove(hashes: readonly bigint[]): void {
    for (const hash of hashes) this.blocks.delete(hash);
    this.#tell({ case: 'removed', value: { sequenceHashes: packHashes(BigUint64Array.from(hashes)) } });
  }

  clear(): void {
    this.blocks.clear();
    this.#tell({ case: 'cleared', value: {} });
  }

  eventsFrom(number: number): KvEvent[] {
    return this.events.slice(number - this.#start - 1);
  }

  #tell(
    change: Parameters<typeof create<typeof KvEventSchema>>[1] extends infer I | undefined
      ? I extends { change?: infer C }
        ? NonNullable<C>
        : never
      : never,
  ): void {
    const sequenceNumber = BigInt(this.newest + 1);
    this.events.push(create(KvEventSchema, { sequenceNumber, dataParallelRank: this.rank, change }));
    this.#onChange();
  }
}

/** For tests: a worker that only has caches, behind a real server, and whose streams can be made faulty. */
export class FakeWorker implements AsyncDisposable {
  readonly ranks: readonly FakeRank[];
  /** First numbers that subscribers asked for; 0: a snapshot. */
  readonly asked: number[] = [];
  /** What becomes of the events of a message on their way. */
  mangle: (events: KvEvent[]) => KvEvent[] = (events) => events;
  /** Sent instead of the next message's events. */
  garbage: Uint8Array | undefined;
  /** Streams stay open and say nothing. */
  mute = false;
  /** Called before each message of a snapshot. */
  onSnapshotMessage: () => Promise<void> = () => Promise.resolve();
  readonly #o: Required<FakeWorkerOptions>;
  #wake = Promise.withResolvers<void>();
  #server: RpcServer | undefined;
  #address = '';

  constructor(options: FakeWorkerOptions) {
    this.#o = { model: 'm', blockSize: 16, ranks: 1, ring: 1000, start: 0, chunkBlocks: 1000, ...options };
    const changed = (): void => this.#changed();
    this.ranks = Array.from({ length: this.#o.ranks }, (_, rank) => new FakeRank(rank, this.#o.start, changed));
  }

  static async start(options: FakeWorkerOptions, listen = '127.0.0.1:0'): Promise<FakeWorker> {
    const worker = new FakeWorker(options);
    worker.#server = await startRpcServer({
      listen,
      services: [KvEventFrames],
      routes: (router) =>
        void router.service(KvEventFrames, {
          subscribeKvEvents: (request, { signal }) => worker.subscribe(request, signal),
        }),
      telemetry: quietTelemetry(),
    });
    worker.#address = worker.#server.address;
    return worker;
  }

  get address(): string {
    return this.#address;
  }

  get rank(): FakeRank {
    const [rank] = this.ranks;
    if (rank === undefined) throw new Error('a worker has ranks');
    return rank;
  }

  get instance(): Instance {
    const { instanceId, model, blockSize, ranks } = this.#o;
    const card = create(ModelCardSchema, {
      name: model,
      digest: Uint8Array.of(1),
      limits: { kvBlockSize: blockSize },
      capabilities: { kvEvents: true },
      parallelism: { data: ranks },
    });
    const address = this.#address === '' ? 'fake:1' : this.#address;
    return create(InstanceSchema, { instanceId, kind: ServiceKind.WORKER, address, cards: [card] });
  }

  /** Ends at once, streams and all. */
  async kill(): Promise<void> {
    await this.#server?.stop(0);
    this.#server = undefined;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.kill();
  }

  async *subscribe(request: SubscribeKvEventsRequest, signal: AbortSignal): AsyncGenerator<KvEventFrame> {
    const rank = this.ranks[request.dataParallelRank ?? 0];
    if (rank === undefined) throw StatorError.invalid('data_parallel_rank', 'there is no such rank');
    const from = Number(request.fromSequenceNumber);
    this.asked.push(from);
    const aborted = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    if (this.mute) await aborted;
    let next = from;
    if (from === 0 || from < this.#oldest(rank) || from > rank.newest + 1) {
      next = rank.newest + 1;
      yield* this.#snapshot(rank);
    } else if (from === rank.newest + 1) yield this.#frame(rank, []);
    while (!signal.aborted) {
      if (next < this.#oldest(rank)) throw new StatorError('slow_reader', 'behind', { retryable: true });
      const events = rank.eventsFrom(next).slice(0, 10);
      if (events.length === 0) {
        await Promise.race([this.#wake.promise, aborted]);
        continue;
      }
      next += events.length;
      yield this.#frame(rank, this.mangle(events));
    }
  }

  /** A sign of life on every stream. */
  #changed(): void {
    this.#wake.resolve();
    this.#wake = Promise.withResolvers<void>();
  }

  #oldest(rank: FakeRank): number {
    return Math.max(this.#o.start, rank.newest - this.#o.ring) + 1;
  }

  #frame(rank: FakeRank, events: KvEvent[]): KvEventFrame {
    const batch = this.garbage ?? toBinary(KvEventBatchSchema, create(KvEventBatchSchema, { events }));
    this.garbage = undefined;
    return create(KvEventFrameSchema, { batch, newestSequenceNumber: BigInt(rank.newest) });
  }

  async *#snapshot(rank: FakeRank): AsyncGenerator<KvEventFrame> {
    const { chunkBlocks } = this.#o;
    const newestSequenceNumber = BigInt(rank.newest);
    const hashes = BigUint64Array.from(rank.blocks);
    for (let at = 0; at === 0 || at < hashes.length; at += chunkBlocks) {
      await this.onSnapshotMessage();
      const parentSequenceHash = hashes[at - 1];
      const value = {
        sequenceHashes: packHashes(hashes.slice(at, at + chunkBlocks)),
        ...(parentSequenceHash !== undefined && { parentSequenceHash }),
      };
      const event = { sequenceNumber: newestSequenceNumber, dataParallelRank: rank.rank };
      const batch = create(KvEventBatchSchema, {
        events: hashes.length === 0 ? [] : [{ ...event, change: { case: 'stored', value } }],
      });
      yield create(KvEventFrameSchema, {
        batch: toBinary(KvEventBatchSchema, batch),
        snapshot: true,
        snapshotEnd: at + chunkBlocks >= hashes.length,
        newestSequenceNumber,
      });
    }
  }
}
