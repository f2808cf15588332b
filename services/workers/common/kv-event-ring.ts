import { toBinary } from '@bufbuild/protobuf';
import { KvEventBatchSchema } from '#gen/stator/events/v1/events_pb.ts';
import type { KvEventChange } from './engine.ts';
import { numbered } from './kv-event-parts.ts';

/** The newest KV events of one rank, numbered without gaps. Each is encoded once, when the first subscriber reads it. */
export class KvEventRing {
  readonly dataParallelRank: number;
  readonly #capacity: number;
  readonly #start: number;
  readonly #events: (KvEventChange | Uint8Array | undefined)[] = [];
  #newest: number;

  /** `start`: the number before the first event's. */
  constructor(dataParallelRank: number, capacity: number, start: number) {
    this.dataParallelRank = dataParallelRank;
    this.#capacity = capacity;
    this.#start = start;
    this.#newest = start;
  }

  /** Number of the newest event; before the first, the number before it. */
  get newest(): number {
    return this.#newest;
  }

  /** Number of the oldest event that is still here. */
  get oldest(): number {
    return Math.max(this.#start, this.#newest - this.#capacity) + 1;
  }

  append(change: KvEventChange): void {
    this.#newest++;
    this.#events[this.#newest % this.#capacity] = change;
  }

  /** Whether everything from this number on can be had. */
  has(from: number): boolean {
    return from >= this.oldest && from <= this.#newest + 1;
  }

  /**
   * Events from this number on as an encoded KvEventBatch: at most `maxEvents`, and no further ones after `maxBytes`; `next`
   * is the number after them. The caller has checked `has`.
   */
  encoded(from: number, maxEvents: number, maxBytes: number): { batch: Uint8Array; next: number } {
    const parts: Uint8Array[] = [];
    let bytes = 0;
    let at = from;
    while (at <= this.#newest && parts.length < maxEvents && bytes < maxBytes) {
      const event = this.#encodedEvent(at++);
      parts.push(event);
      bytes += event.length;
    }
    return { batch: parts.length === 1 ? (parts[0] ?? new Uint8Array()) : Buffer.concat(parts, bytes), next: at };
  }

  /** A batch of one event: concatenated batches are a batch of all their events. */
  #encodedEvent(number: number): Uint8Array {
    const slot = number % this.#capacity;
    const event = this.#events[slot];
    if (event === undefined) throw new RangeError(`the ring has no event ${number}`);
    if (event instanceof Uint8Array) return event;
    const encoded = toBinary(KvEventBatchSchema, numbered([event], number));
    this.#events[slot] = encoded;
    return encoded;
  }
}
