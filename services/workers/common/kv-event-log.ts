import { create } from '@bufbuild/protobuf';
import {
  type SubscribeKvEventsRequest,
  type SubscribeKvEventsResponse,
  SubscribeKvEventsResponseSchema,
} from '#gen/stator/engine/v1/engine_pb.ts';
import { type KvEvent, KvEventSchema } from '#gen/stator/events/v1/events_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { Engine, KvEventChange } from './engine.ts';
import { KvEventRing } from './kv-event-ring.ts';
import { Pulse } from './pulse.ts';

/** Events in one message at most. */
const batch = 512;

/** KV events of one engine: a ring for each rank, and streams that begin with a snapshot where the ring does not reach. */
export class KvEventLog {
  readonly #engine: Engine;
  readonly #capacity: number;
  readonly #onCut: () => void;
  readonly #rings = new Map<number, KvEventRing>();
  readonly #pulse = new Pulse();

  constructor(engine: Engine, capacity: number, onCut: () => void) {
    this.#engine = engine;
    this.#capacity = capacity;
    this.#onCut = onCut;
  }

  append(changes: readonly KvEventChange[]): void {
    for (const change of changes) this.#ring(change.dataParallelRank).append(change);
    this.#pulse.fire();
  }

  newest(rank: number): number {
    return this.#rings.get(rank)?.newest ?? 0;
  }

  /** Events from where the request says, or a snapshot first. Throws `slow_reader` when the reader fell off the ring. */
  async *subscribe(
    request: SubscribeKvEventsRequest,
    o: { readonly signal: AbortSignal; readonly heartbeatMs: number },
  ): AsyncGenerator<SubscribeKvEventsResponse> {
    const cursors = new Map<KvEventRing, number>();
    const ranks = this.#ranks(request);
    for (const ring of ranks) {
      const from = Number(request.fromSequenceNumber);
      cursors.set(ring, from > 0 && ring.has(from) ? from : 0);
    }
    for (const [ring, from] of cursors) if (from === 0) yield* this.#snapshot(ring, cursors);
    while (!o.signal.aborted) {
      let sent = false;
      for (const [ring, from] of cursors) {
        const events = this.#read(ring, from);
        if (events.length === 0) continue;
        cursors.set(ring, from + events.length);
        sent = true;
        yield message({ events, newest: ring.newest });
      }
      if (sent) continue;
      // Nothing was awaited since the rings were read, so no event can have come between.
      const woken = this.#pulse.wait(o.signal, o.heartbeatMs);
      const before = performance.now();
      await woken;
      if (performance.now() - before >= o.heartbeatMs - 1 && !o.signal.aborted)
        for (const ring of ranks) yield message({ events: [], newest: ring.newest });
    }
  }

  /** Snapshot and number are taken in the same turn of the event loop, so nothing falls between it and what follows. */
  *#snapshot(ring: KvEventRing, cursors: Map<KvEventRing, number>): Generator<SubscribeKvEventsResponse> {
    const newest = ring.newest;
    cursors.set(ring, newest + 1);
    const events = this.#engine
      .kvSnapshot()
      .filter((change) => change.dataParallelRank === ring.dataParallelRank)
      .map((change) => create(KvEventSchema, { ...change, sequenceNumber: BigInt(newest) }));
    for (let at = 0; at === 0 || at < events.length; at += batch) {
      const end = at + batch >= events.length;
      yield message({ events: events.slice(at, at + batch), newest, snapshot: true, end });
    }
  }

  #read(ring: KvEventRing, from: number): KvEvent[] {
    if (ring.has(from)) return ring.from(from, batch);
    this.#onCut();
    const missed = ring.oldest - from;
    throw new StatorError(
      'slow_reader',
      `the subscriber is ${missed} events behind what is kept of rank ${ring.dataParallelRank}: subscribe again for a snapshot`,
      { retryable: true, facts: { oldest: ring.oldest, wanted: from } },
    );
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
    const ring = new KvEventRing(rank, this.#capacity);
    this.#rings.set(rank, ring);
    return ring;
  }
}

function message(o: {
  readonly events: KvEvent[];
  readonly newest: number;
  readonly snapshot?: boolean;
  readonly end?: boolean;
}): SubscribeKvEventsResponse {
  return create(SubscribeKvEventsResponseSchema, {
    batch: { events: o.events },
    newestSequenceNumber: BigInt(o.newest),
    snapshot: o.snapshot ?? false,
    snapshotEnd: o.end ?? false,
  });
}
