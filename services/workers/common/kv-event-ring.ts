import { create } from '@bufbuild/protobuf';
import { type KvEvent, KvEventSchema } from '#gen/stator/events/v1/events_pb.ts';
import type { KvEventChange } from './engine.ts';

/** The newest KV events of one rank, numbered from 1 without gaps. */
export class KvEventRing {
  readonly dataParallelRank: number;
  readonly #capacity: number;
  readonly #events: (KvEvent | undefined)[];
  #newest = 0;

  constructor(dataParallelRank: number, capacity: number) {
    this.dataParallelRank = dataParallelRank;
    this.#capacity = capacity;
    this.#events = [];
  }

  /** Number of the newest event; 0 before the first. */
  get newest(): number {
    return this.#newest;
  }

  /** Number of the oldest event that is still here. */
  get oldest(): number {
    return Math.max(1, this.#newest - this.#capacity + 1);
  }

  append({ change, dataParallelRank }: KvEventChange): void {
    this.#newest++;
    const event = create(KvEventSchema, { sequenceNumber: BigInt(this.#newest), dataParallelRank, change });
    this.#events[this.#newest % this.#capacity] = event;
  }

  /** Whether everything from this number on can be had. */
  has(from: number): boolean {
    return from >= this.oldest && from <= this.#newest + 1;
  }

  /** At most `limit` events from this number on; the caller has checked `has`. */
  from(number: number, limit: number): KvEvent[] {
    const events: KvEvent[] = [];
    for (let at = number; at <= this.#newest && events.length < limit; at++) {
      const event = this.#events[at % this.#capacity];
      if (event !== undefined) events.push(event);
    }
    return events;
  }
}
