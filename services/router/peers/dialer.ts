import { Backoff } from '#lib/discovery/backoff.ts';
import type { PeerLink } from './link.ts';
import type { PeerClock } from './ports.ts';

/** Where a replica can be reached. */
export interface PeerTarget {
  readonly address: string;
  /** Unset: as this router's own port. */
  readonly tls?: boolean;
}

/** Opens a stream and carries the link over it until either ends; failures come by the link's end. */
export type OpenStream = (target: PeerTarget, link: PeerLink) => void;

export interface DialerOptions {
  readonly clock: PeerClock;
  readonly random: () => number;
  /** Milliseconds before the first attempt, and before the first after the replica was lost: the other side dials first. */
  readonly patienceMs: number;
  readonly firstBackoffMs: number;
  readonly maxBackoffMs: number;
  /** Whether there is a stream with the replica already, whoever opened it. */
  isLinked(): boolean;
  /** A new link; it reports its end to `ended`. */
  open(): void;
}

/** Opens streams to one replica, again and again, for as long as there is none. */
export class Dialer {
  readonly #options: DialerOptions;
  readonly #backoff: Backoff;
  #callOff: (() => void) | undefined;
  #closed = false;
  #dialing = false;

  constructor(options: DialerOptions) {
    const { firstBackoffMs: firstMs, maxBackoffMs: maximumMs, random } = options;
    this.#options = options;
    this.#backoff = new Backoff({ firstMs, maximumMs, random });
    this.#schedule(options.patienceMs);
  }

  /** The link that it opened is with a replica that talks: the next failure is the first again. */
  succeeded(): void {
    this.#backoff.reset();
  }

  /** The link that it opened ended. */
  ended(): void {
    this.#dialing = false;
    this.#schedule(this.#options.patienceMs + this.#backoff.next());
  }

  /** There may be no stream with the replica any more. */
  wake(): void {
    if (!this.#dialing && this.#callOff === undefined) this.#schedule(this.#options.patienceMs + this.#backoff.next());
  }

  close(): void {
    this.#closed = true;
    this.#callOff?.();
  }

  #schedule(ms: number): void {
    if (this.#closed) return;
    this.#callOff?.();
    this.#callOff = this.#options.clock.after(ms, () => {
      this.#callOff = undefined;
      if (this.#closed || this.#options.isLinked()) return;
      this.#dialing = true;
      this.#options.open();
    });
  }
}
