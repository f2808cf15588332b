import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { packHashes, unpackHashes } from '#core/tokens/packed-hashes.ts';
import {
  KvEventFrameSchema,
  type SubscribeKvEventsRequest,
  SubscribeKvEventsRequestSchema,
  type SubscribeKvEventsResponse,
  SubscribeKvEventsResponseSchema,
} from '#gen/stator/engine/v1/engine_pb.ts';
import { KvBlocksRemovedSchema, KvBlocksStoredSchema } from '#gen/stator/events/v1/events_pb.ts';
import { type ModelCard, ModelCardSchema } from '#gen/stator/model/v1/model_pb.ts';
import type { Engine, KvEventChange } from './engine.ts';
import { KvEventLog } from './kv-event-log.ts';

function column(first: number, count: number): Uint8Array {
  return packHashes(BigUint64Array.from({ length: count }, (_, i) => BigInt(first + i)));
}

function stored(first: number, count: number, parent?: bigint): KvEventChange {
  const value = create(KvBlocksStoredSchema, {
    sequenceHashes: column(first, count),
    ...(parent !== undefined && { parentSequenceHash: parent }),
  });
  return { dataParallelRank: 0, change: { case: 'stored', value } };
}

function removed(first: number, count: number): KvEventChange {
  const value = create(KvBlocksRemovedSchema, { sequenceHashes: column(first, count) });
  return { dataParallelRank: 0, change: { case: 'removed', value } };
}

/** An engine that only has a cache, whose snapshot is read block by block. */
class Cache {
  readonly blocks = new Set<bigint>();
  readonly log: KvEventLog;
  cuts = 0;
  /** Called before each block of a snapshot. */
  onRead: () => void = () => {};

  constructor(capacity: number) {
    const card: ModelCard = create(ModelCardSchema, { name: 'm' });
    const unused = (): never => {
      throw new Error('not used here');
    };
    const engine: Engine = {
      card,
      start: unused,
      submit: unused,
      cancel: unused,
      load: unused,
      clearCache: unused,
      kvSnapshot: () => this.#snapshot(),
      stop: unused,
    };
    this.log = new KvEventLog(engine, capacity, () => this.cuts++);
  }

  *#snapshot(): Generator<KvEventChange> {
    for (const hash of this.blocks) {
      this.onRead();
      yield stored(Number(hash), 1);
    }
  }

  store(first: number, count: number): void {
    for (let i = 0; i < count; i++) this.blocks.add(BigInt(first + i));
    this.log.append([stored(first, count)]);
  }

  remove(first: number, count: number): void {
    for (let i = 0; i < count; i++) this.blocks.delete(BigInt(first + i));
    this.log.append([removed(first, count)]);
  }
}

function request(from = 0): SubscribeKvEventsRequest {
  return create(SubscribeKvEventsRequestSchema, { fromSequenceNumber: BigInt(from), dataParallelRank: 0 });
}

/** A subscriber that reads a message whenever it is told to. */
class Reader {
  readonly messages: SubscribeKvEventsResponse[] = [];
  readonly blocks = new Set<bigint>();
  readonly #abort = new AbortController();
  readonly #stream: ReturnType<KvEventLog['subscribe']>;

  constructor(cache: Cache, from = 0, heartbeatMs = 60_000) {
    this.#stream = cache.log.subscribe(request(from), { signal: this.#abort.signal, heartbeatMs });
  }

  async read(): Promise<SubscribeKvEventsResponse> {
    const { value, done } = await this.#stream.next();
    if (done === true) throw new Error('the stream is over');
    // As the wire has it: frames must be what the contract says.
    const message = fromBinary(SubscribeKvEventsResponseSchema, toBinary(KvEventFrameSchema, value));
    this.#apply(message);
    return message;
  }

  async readUntil(number: number): Promise<void> {
    for (;;) {
      const message = await this.read();
      const last = message.snapshot
        ? message.snapshotEnd && message.newestSequenceNumber
        : message.batch?.events.at(-1)?.sequenceNumber;
      if (last === BigInt(number)) return;
    }
  }

  close(): void {
    this.#abort.abort();
  }

  #apply(message: SubscribeKvEventsResponse): void {
    const before = this.messages.at(-1);
    const continued =
      before?.snapshot === true && !before.snapshotEnd && before.newestSequenceNumber === message.newestSequenceNumber;
    if (message.snapshot && !continued) this.blocks.clear();
    this.messages.push(message);
    for (const { change } of message.batch?.events ?? []) {
      if (change.case === 'stored') for (const h of unpackHashes(change.value.sequenceHashes)) this.blocks.add(h);
      if (change.case === 'removed') for (const h of unpackHashes(change.value.sequenceHashes)) this.blocks.delete(h);
    }
  }
}

describe('KV event log', () => {
  it('sends what the contract says, cut into messages and events of bounded size', async () => {
    const cache = new Cache(65_536);
    const reader = new Reader(cache);
    await reader.read();
    cache.store(1, 2500);
    for (let i = 0; i < 1200; i++) cache.remove(1 + i, 1);
    await reader.readUntil(cache.log.newest(0));
    const events = reader.messages.flatMap(({ batch }) => batch?.events ?? []);
    expect(events.map(({ sequenceNumber }) => sequenceNumber - (events[0]?.sequenceNumber ?? 0n))).to.deep.equal(
      Array.from({ length: 1203 }, (_, i) => BigInt(i)),
    );
    const parts = events.flatMap(({ change }) => (change.case === 'stored' ? [change.value] : []));
    expect(parts.map(({ parentSequenceHash, startBlock }) => [parentSequenceHash, startBlock])).to.deep.equal([
      [undefined, 0],
      [1024n, 1024],
      [2048n, 2048],
    ]);
    expect(reader.blocks).to.deep.equal(cache.blocks);
    for (const { batch } of reader.messages) expect(batch?.events.length ?? 0).to.be.at.most(512);
    reader.close();
  });

  it('reads a large snapshot over many turns, and changes meanwhile are not lost', async () => {
    const cache = new Cache(65_536);
    cache.store(1, 50_000);
    let turns = 0;
    let counting = true;
    const count = (): void => {
      turns++;
      if (counting) setImmediate(count);
    };
    setImmediate(count);
    let reads = 0;
    cache.onRead = () => {
      reads++;
      if (reads % 100 !== 0) return;
      cache.remove(reads - 50, 1);
      cache.remove(60_000 - reads, 1);
      cache.store(100_000 + reads, 2);
    };
    const reader = new Reader(cache);
    while (reader.messages.at(-1)?.snapshotEnd !== true) await reader.read();
    counting = false;
    await reader.readUntil(cache.log.newest(0));
    expect(turns).to.be.greaterThan(20);
    expect(reader.messages.filter(({ snapshot }) => snapshot).length).to.be.greaterThan(20);
    expect(reader.blocks).to.deep.equal(cache.blocks);
    reader.close();
  });

  it('starts a snapshot over under a new number when the ring has lost what came after its beginning', async () => {
    const cache = new Cache(8);
    cache.store(1, 10_000);
    let reads = 0;
    cache.onRead = () => {
      reads++;
      if (reads === 3000) for (let i = 0; i < 20; i++) cache.store(20_000 + i, 1);
    };
    const reader = new Reader(cache);
    while (reader.messages.at(-1)?.snapshotEnd !== true) await reader.read();
    const numbers = new Set(reader.messages.map(({ newestSequenceNumber }) => newestSequenceNumber));
    expect(numbers.size).to.equal(2);
    expect(reader.blocks).to.deep.equal(cache.blocks);
    expect(cache.cuts).to.equal(0);
    reader.close();
  });

  it('gives up a snapshot that the ring outruns again and again', async () => {
    const cache = new Cache(2);
    cache.store(1, 5000);
    let next = 10_000;
    cache.onRead = () => cache.log.append([stored(next++, 1)]);
    const reader = new Reader(cache);
    const thrown = await (async () => {
      for (;;) await reader.read();
    })().catch((error: unknown) => error);
    expect(thrown).to.include({ code: 'slow_reader', retryable: true });
    expect(cache.cuts).to.equal(1);
  });

  it('answers a number of an earlier life with a snapshot', async () => {
    const before = new Cache(100);
    before.store(1, 1);
    for (let i = 0; i < 50; i++) before.store(10 + i, 1);
    while (Date.now() * 1000 <= before.log.newest(0)) await new Promise(setImmediate);
    const after = new Cache(100);
    for (let i = 0; i < 60; i++) after.store(1000 + i, 1);
    const reader = new Reader(after, before.log.newest(0) + 1);
    expect((await reader.read()).snapshot).to.equal(true);
    reader.close();
  });
});
