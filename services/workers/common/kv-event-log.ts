import { setImmediate as nextTurn } from 'node:timers/promises';
import { create, toBinary } from '@bufbuild/protobuf';
import {
  type KvEventFrame,
  KvEventFrameSchema,
  type SubscribeKvEventsRequest,
} from '#gen/stator/engine/v1/engine_pb.ts';
import { KvEventBatchSchema } from '#gen/stator/events/v1/events_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { Engine, KvEventChange } from './engine.ts';
import { boundedChanges, numbered, snapshotParts } from './kv-event-parts.ts';
import { KvEventRing } from './kv-event-ring.ts';
import { Pulse } from './pulse.ts';

/** Events, and bytes of events, in one message at most. */
const batchEvents = 512;
const batchBytes = 64 * 1024;

/** Snapshots begun for one subscription at most: one that the ring outruns so often would never end. */
const snapshotTries = 5;

export interface KvSubscription {
  readonly signal: AbortSignal;
  /** Milliseconds of silence before a sign of life. */
  readonly heartbeatMs: number;
}

type Cursors = Map<KvEventRing, number>;

/**
 * KV events of one engine: a ring for each rank, and streams that begin with a snapshot where the ring does not reach. Events
 * stay encoded from the ring to the wire, so that many subscribers cost little.
 */
export class KvEventLog {
  readonly #engine: Engine;
  readonly #capacity: number;
  readonly #onCut: () => void;
  /**
   * Numbers begin where no earlier life of this worker has come, so that a subscriber who still knows one of its numbers gets a
   * snapshot: microseconds since 1970, which events do not overtake.
   */
  readonly #start = Date.now() * 1000;
  readonly #rings = new Map<number, KvEventRing>();
  readonly #pulse = new Pulse();

  constructor(engine: Engine, capacity: number, onCut: () => void) {
    this.#engine = engine;
    this.#capacity = capacity;
    this.#onCut = onCut;
  }

  append(changes: readonly KvEventChange[]): void {
    for (const change of changes)
      for (const part of boundedChanges(change)) this.#ring(part.dataParallelRank).append(part);
    this.#pulse.fire();
  }

  newest(rank: number): number {
    return this.#ring(rank).newest;
  }

  /** Events from where the request says, or a snapshot first. Throws `slow_reader` when the reader fell off the ring. */
  async *subscribe(request: SubscribeKvEventsRequest, o: KvSubscription): AsyncGenerator<KvEventFrame> {
    const cursors: Cursors = new Map();
    const from = Number(request.fromSequenceNumber);
    for (const ring of this.#ranks(request)) cursors.set(ring, from > 0 && ring.has(from) ? from : 0);
    for (const [ring, cursor] of cursors) if (cursor === 0) cursors.set(ring, yield* this.#snapshot(ring, o.signal));
    // A subscriber that is up to date learns at once that it is.
    yield* signsOfLife(cursors);
    while (!o.signal.aborted) {
      let sent = false;
      for (const [ring, cursor] of cursors) {
        const frame = this.#read(ring, cursor);
        if (frame === undefined) continue;
        cursors.set(ring, frame.next);
        sent = true;
        yield message({ batch: frame.batch, newest: ring.newest });
        // A subscriber that reads as fast as this writes must not keep the engine from its steps.
        await nextTurn();
      }
      if (sent) continue;
      // Nothing was awaited since the rings were read, so no event can have come between.
      const happened = await this.#pulse.wait(o.signal, o.heartbeatMs);
      if (happened || o.signal.aborted) continue;
      yield* signsOfLife(cursors);
    }
  }

  /**
   * Everything of a rank, with the number of the newest event at its beginning; returns the number of the first event after
   * it. What changes meanwhile may be in it already: applied once more, events leave the same state. Starts over under a new
   * number when the ring has lost what came after the old one.
   */
  async *#snapshot(ring: KvEventRing, signal: AbortSignal): AsyncGenerator<KvEventFrame, number> {
    for (let tries = 0; tries < snapshotTries; tries++) {
      const newest = ring.newest;
      let held: Uint8Array = nothing;
      for (const part of snapshotParts(this.#engine.kvSnapshot(), ring.dataParallelRank)) {
        if (held.length > 0) yield message({ batch: held, newest, snapshot: true });
        held = toBinary(KvEventBatchSchema, numbered(part, newest));
        await nextTurn();
        if (signal.aborted) return 0;
        if (!ring.has(newest + 1)) break;
      }
      if (!ring.has(newest + 1)) continue;
      yield message({ batch: held, newest, snapshot: true, end: true });
      return newest + 1;
    }
    throw this.#cut(
      `the subscriber reads its snapshot of rank ${ring.dataParallelRank} more slowly than events are lost`,
    );
  }

  #read(ring: KvEventRing, from: number): { batch: Uint8Array; next: number } | undefined {
    if (from > ring.newest) return undefined;
    if (ring.has(from)) return ring.encoded(from, batchEvents, batchBytes);
    const missed = ring.oldest - from;
    throw this.#cut(
      `the subscriber is ${missed} events behind what is kept of rank ${ring.dataParallelRank}: subscribe again for a snapshot`,
      { oldest: ring.oldest, wanted: from },
    );
  }

  #cut(why: string, facts?: Readonly<Record<string, number>>): StatorError {
    this.#onCut();
    return new StatorError('slow_reader', why, { retryable: true, ...(facts !== undefined && { facts }) });
  }

  #ranks(request: SubscribeKvEventsRequest): KvEventRing[] {
    const { card } = this.#engine;
    const first = card.parallelism?.dataStartRank ?? 0;
    const count = Math.max(1, card.parallelism?.data ?? 1);
    const { dataParallelRank: rank } = request;
    if (rank !== undefined) {
      if (rank < first || rank >= first + count)
        throw StatorError.invalid('data_parallel_rank', `rank ${rank} is not one of ${first} to ${first + count - 1}`);
      return [this.#ring(rank)];
    }
    if (request.fromSequenceNumber > 0n && count > 1)
      throw StatorError.invalid('data_parallel_rank', 'each rank numbers its own events: name one, or start from 0');
    return Array.from({ length: count }, (_, index) => this.#ring(first + index));
  }

  #ring(rank: number): KvEventRing {
    const known = this.#rings.get(rank);
    if (known !== undefined) return known;
    const ring = new KvEventRing(rank, this.#capacity, this.#start);
    this.#rings.set(rank, ring);
    return ring;
  }
}

const nothing = new Uint8Array();

/** For every rank of which all has been sent: a message without events that says so. */
function* signsOfLife(cursors: Cursors): Generator<KvEventFrame> {
  for (const [ring, cursor] of cursors)
    if (cursor === ring.newest + 1) yield message({ batch: nothing, newest: ring.newest });
}

function message(o: {
  readonly batch: Uint8Array;
  readonly newest: number;
  readonly snapshot?: boolean;
  readonly end?: boolean;
}): KvEventFrame {
  return create(KvEventFrameSchema, {
    batch: o.batch,
    newestSequenceNumber: BigInt(o.newest),
    snapshot: o.snapshot ?? false,
    snapshotEnd: o.end ?? false,
  });
}
