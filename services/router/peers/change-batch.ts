import type { Reannounce, ReservationKey, SessionBinding } from '#gen/stator/router/v1/router_pb.ts';
import { type OwnReservation, wireKey } from './own-reservations.ts';

/** What happened since the last message, as one message tells it. */
export interface Changes {
  readonly placed: Reannounce[];
  readonly prefillDone: ReservationKey[];
  readonly finished: ReservationKey[];
  readonly sessions: SessionBinding[];
  /** About its size on the wire. */
  bytes: number;
}

interface Change {
  readonly own: OwnReservation;
  kind: 'placed' | 'prefillDone' | 'finished';
}

/** Most reservations of one message. */
export const maxPartReservations = 256;
/** Bytes of reservations after which a message takes no more. */
export const maxPartBytes = 1 << 20;

const keyBytes = 64;

/** About the bytes that a reservation takes in a message. */
export function bytesOf({ route }: Reannounce): number {
  return 256 + (route?.sequenceHashes.length ?? 0);
}

/** Collects changes for one message. Several of one reservation become one, as what it is placed anew replaces what it was. */
export class ChangeBatch {
  readonly #changes = new Map<string, Change>();
  readonly #sessions = new Map<string, SessionBinding>();

  get size(): number {
    return this.#changes.size + this.#sessions.size;
  }

  placed(own: OwnReservation): void {
    this.#changes.set(own.key, { own, kind: 'placed' });
  }

  prefillDone(own: OwnReservation): void {
    // One that is placed is described when it is told of.
    if (!this.#changes.has(own.key)) this.#changes.set(own.key, { own, kind: 'prefillDone' });
  }

  finished(own: OwnReservation): void {
    this.#changes.set(own.key, { own, kind: 'finished' });
  }

  bound(binding: SessionBinding): void {
    this.#sessions.set(`${binding.model}\0${binding.sessionId}`, binding);
  }

  /** Gives what was collected, as one message or more, and begins anew. `describe` says how a placed reservation is by now. */
  take(describe: (own: OwnReservation) => Reannounce | undefined): Changes[] {
    const first = noChanges(this.size * keyBytes);
    const all = [first];
    first.sessions.push(...this.#sessions.values());
    for (const { own, kind } of this.#changes.values()) {
      const described = kind === 'placed' ? describe(own) : undefined;
      if (kind === 'prefillDone') first.prefillDone.push(wireKey(own));
      // The second: it has ended by a way that nobody told of.
      else if (kind === 'finished' || described === undefined) first.finished.push(wireKey(own));
      else placeIn(all, described);
    }
    this.#changes.clear();
    this.#sessions.clear();
    return all;
  }
}

function noChanges(bytes: number): Changes {
  return { placed: [], prefillDone: [], finished: [], sessions: [], bytes };
}

function placeIn(all: Changes[], described: Reannounce): void {
  let last = all.at(-1);
  const bytes = bytesOf(described);
  if (last === undefined || (last.placed.length > 0 && last.bytes + bytes > maxPartBytes)) {
    last = noChanges(0);
    all.push(last);
  }
  last.placed.push(described);
  last.bytes += bytes;
}
