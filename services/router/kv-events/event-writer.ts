import type { AppliedMessage, KvIndex } from '#core/kv-index/kv-index.ts';
import { type EventKind, EventScan, eventKinds } from './event-scan.ts';
import type { KvEventMetrics } from './metrics.ts';
import type { TurnBudget } from './turn-budget.ts';

export interface EventWriterOptions {
  readonly index: KvIndex;
  readonly budget: TurnBudget;
  /** Blocks in one piece of work, roughly. */
  readonly pieceBlocks: number;
  readonly metrics: KvEventMetrics;
  readonly dataParallelRank: number;
  readonly signal: AbortSignal;
}

/** What came of a range of events. */
export interface Written {
  /** The signal aborted in between: the rest was left. */
  readonly aborted: boolean;
  readonly storedEvents: number;
  readonly storedBlocks: number;
}

/** Writes the events of one rank into the index, a bounded piece in each turn of the event loop, and counts them. */
export class EventWriter {
  readonly scan = new EventScan();
  readonly #o: EventWriterOptions;
  #slot = -1;
  #message = new Uint8Array(1024);

  constructor(options: EventWriterOptions) {
    this.#o = options;
  }

  /** Writes events of the batch that `scan` has read. Throws what the index throws for malformed ones. */
  async write(batch: Uint8Array, from: number, to: number, slot: number): Promise<Written> {
    const { index, budget, pieceBlocks, signal } = this.#o;
    let storedEvents = 0;
    let storedBlocks = 0;
    for (let at = from; at < to; ) {
      const start = this.scan.start(at);
      const next = this.#pieceEnd(at, to, start + pieceBlocks * 8);
      const piece = batch.subarray(start, this.scan.start(next));
      const turn = budget.take(Math.ceil(piece.length / 8));
      if (turn !== undefined) {
        await turn;
        if (signal.aborted) return { aborted: true, storedEvents, storedBlocks };
      }
      this.#slot = slot;
      const applied = index.applyMessage(this.#asMessage(piece), this.#slotOfRank);
      storedEvents += this.#count(applied, at, next);
      storedBlocks += applied.stored;
      at = next;
    }
    return { aborted: false, storedEvents, storedBlocks };
  }

  readonly #slotOfRank = (rank: number): number | undefined =>
    rank === this.#o.dataParallelRank ? this.#slot : undefined;

  #pieceEnd(from: number, to: number, endByte: number): number {
    let at = from + 1;
    while (at < to && (this.scan.ends[at] ?? 0) <= endByte) at++;
    return at;
  }

  /** The events as the index reads them: the field `batch` of a SubscribeKvEventsResponse. */
  #asMessage(events: Uint8Array): Uint8Array {
    if (this.#message.length < events.length + 6) this.#message = new Uint8Array(events.length * 2);
    let at = 0;
    this.#message[at++] = 0x0a;
    for (let rest = events.length; ; rest >>>= 7) {
      this.#message[at++] = rest > 0x7f ? (rest & 0x7f) | 0x80 : rest;
      if (rest <= 0x7f) break;
    }
    this.#message.set(events, at);
    return this.#message.subarray(0, at + events.length);
  }

  /** Returns the number of stored events. */
  #count(applied: AppliedMessage, from: number, to: number): number {
    const { metrics } = this.#o;
    const unknown = applied.unknownRank + applied.unknownChange;
    if (unknown > 0) metrics.unknown.inc(unknown);
    if (applied.unmatchedParents > 0) metrics.unmatchedParents.inc(applied.unmatchedParents);
    if (applied.unmatchedRemovals > 0) metrics.unmatchedBlocks.inc(applied.unmatchedRemovals);
    if (applied.dropped > 0) metrics.overCapacity.inc(applied.dropped);
    const kinds: Record<EventKind, number> = { unknown: 0, stored: 0, removed: 0, cleared: 0 };
    for (let at = from; at < to; at++) kinds[eventKinds[this.scan.kinds[at] ?? 0] ?? 'unknown']++;
    if (kinds.stored > 0) metrics.stored.inc(kinds.stored);
    if (kinds.removed > 0) metrics.removed.inc(kinds.removed);
    if (kinds.cleared > 0) metrics.cleared.inc(kinds.cleared);
    return kinds.stored;
  }
}
