import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { StatorError } from '#lib/errors/errors.ts';
import type { Store } from '#lib/store/store.ts';
import type { EventSink } from '../../output/streamed-answer.ts';

/** Bytes of events that may wait for the store before the answer is left where it is. */
const mostPending = 1024 ** 2;
/** Events that come within so many milliseconds are stored together. */
const gatherMs = 50;

/** Where the events of a response are stored. */
export interface EventPlace {
  readonly store: Store;
  readonly collection: string;
  readonly responseId: string;
}

/** Where the n-th part of a response's events is. */
export function eventKey(responseId: string, part: number): string {
  return `${eventPrefix(responseId)}${String(part).padStart(8, '0')}`;
}

export function eventPrefix(responseId: string): string {
  return `${responseId}/`;
}

/** The events of a response that runs in the background, on their way to the store, from where every gateway can tell them. */
export class EventLog implements EventSink {
  /** The stream of a response has no head of its own that a status could still replace. */
  readonly started = true;
  readonly #place: EventPlace;
  readonly #expiresUnixMs: number;
  readonly #log: Logger;
  readonly #onDrain: () => void;
  readonly #onTaken: () => void;
  #pending = '';
  #parts: number;
  #broken = false;
  #writing: Promise<void> | null = null;
  #changed = Promise.withResolvers<void>();

  /** `onDrain`: there is room again after `blocked`. `onTaken`: another gateway writes them now. */
  constructor(
    place: EventPlace,
    o: {
      readonly expiresUnixMs: number;
      /** Parts that are there already. */
      readonly parts: number;
      readonly log: Logger;
      readonly onDrain: () => void;
      readonly onTaken: () => void;
    },
  ) {
    this.#place = place;
    this.#parts = o.parts;
    this.#onTaken = o.onTaken;
    this.#expiresUnixMs = o.expiresUnixMs;
    this.#log = o.log;
    this.#onDrain = o.onDrain;
  }

  get blocked(): boolean {
    return this.#pending.length > mostPending;
  }

  /** Resolves when more is stored. */
  get changed(): Promise<void> {
    return this.#changed.promise;
  }

  write(text: string): void {
    if (this.#broken) return;
    this.#pending += text;
    this.#writing ??= this.#write();
  }

  end(text: string): void {
    this.write(text);
  }

  dispose(): void {}

  /** Resolves when everything that was written is stored, or never will be. */
  async settled(): Promise<void> {
    await this.#writing;
  }

  async #write(): Promise<void> {
    const { store, collection, responseId } = this.#place;
    try {
      while (this.#pending !== '') {
        await delay(gatherMs);
        const wasBlocked = this.blocked;
        const text = this.#pending;
        this.#pending = '';
        const key = eventKey(responseId, this.#parts++);
        // Each part is written once: of two gateways that take the response for theirs, one goes on.
        await store.put(collection, key, Buffer.from(text), { ifVersion: 0, expiresUnixMs: this.#expiresUnixMs });
        this.#tell();
        if (wasBlocked) this.#onDrain();
      }
    } catch (thrown) {
      if (StatorError.from(thrown).code === 'conflict') this.#onTaken();
      // Followers learn from the response itself how it ended.
      this.#log.error({ err: thrown, response_id: responseId }, 'events of a response could not be stored');
      this.#broken = true;
      this.#pending = '';
      this.#onDrain();
    }
    this.#writing = null;
  }

  #tell(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}
