import type { Reannounce, ReservationKey, SessionBinding } from '#gen/stator/router/v1/router_pb.ts';
import { type OwnReservation, wireKey } from './own-reservations.ts';

/** What happened since the last message, as one message tells it. */
export interface Changes {
  readonly placed: Reannounce[];
  readonly prefillDone: ReservationKey[];
  readonly finished: ReservationKey[];
  readonly sessions: SessionBinding[];
}

interface Change {
  readonly own: OwnReservation;
  placed: boolean;
  prefillDone: boolean;
  finished: boolean;
}

/** Most reservations of one message. */
export const maxPartReservations = 256;
/** Bytes of reservations after which a message takes no more. */
export const maxPartBytes = 1 << 20;

/** About the bytes that a reservation takes in a message. */
export function bytesOf({ route }: Reannounce): number {
  return 256 + (route?.sequenceHashes.length ?? 0);
}

/** Collects changes for one message. Several of one reservation become one, so that the order finished, placed, prefill done is theirs. */
export class ChangeBatch {
  #changes = new Map<string, Change>();
  #sessions = new Map<string, SessionBinding>();

  get size(): number {
    return this.#changes.size + this.#sessions.size;
  }

  placed(own: OwnReservation): void {
    const finished = this.#changes.get(own.key)?.finished ?? false;
    // A change holds the newest owner of the key.
    this.#changes.set(own.key, { own, placed: true, prefillDone: false, finished });
  }

  prefillDone(own: OwnReservation): void {
    this.#change(own).prefillDone = true;
  }

  finished(own: OwnReservation): void {
    const change = this.#change(own);
    change.placed = false;
    change.prefillDone = false;
    change.finished = true;
  }

  bound(binding: SessionBinding): void {
    this.#sessions.set(`${binding.model}\0${binding.sessionId}`, binding);
  }

  /** Gives what was collected, as one message or more, and begins anew. `describe` says how a placed reservation is by now. */
  take(describe: (own: OwnReservation) => Reannounce | undefined): Changes[] {
    const first: Changes = { placed: [], prefillDone: [], finished: [], sessions: [...this.#sessions.values()] };
    const all = [first];
    let last = first;
    let bytes = 0;
    for (const { own, placed, prefillDone, finished } of this.#changes.values()) {
      const described = placed ? describe(own) : undefined;
      if (described !== undefined) {
        bytes += bytesOf(described);
        if (bytes > maxPartBytes && last.placed.length > 0) {
          last = { placed: [], prefillDone: [], finished: [], sessions: [] };
          all.push(last);
          bytes = bytesOf(described);
        }
        last.placed.push(described);
      }
      // Placed and gone already, by a way that nobody told of.
      const lost = placed && described === undefined;
      if (finished || lost) first.finished.push(wireKey(own));
      if (prefillDone && !placed) first.prefillDone.push(wireKey(own));
    }
    this.clear();
    return all;
  }

  clear(): void {
    this.#changes = new Map();
    this.#sessions = new Map();
  }

  #change(own: OwnReservation): Change {
    let change = this.#changes.get(own.key);
    if (change === undefined) {
      change = { own, placed: false, prefillDone: false, finished: false };
      this.#changes.set(own.key, change);
    }
    return change;
  }
}
