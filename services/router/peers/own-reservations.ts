import { create } from '@bufbuild/protobuf';
import { type Reannounce, type ReservationKey, ReservationKeySchema } from '#gen/stator/router/v1/router_pb.ts';
import { type PeerAccounts, reservationKey } from './ports.ts';

/** One of this router's own reservations: where the accounts have it, and what all replicas call it. */
export interface OwnReservation {
  readonly owner: string;
  readonly gatewayId: string;
  readonly requestId: string;
  readonly key: string;
}

/**
 * The names of this router's own reservations. A gateway that comes back before its old stream is known to be dead announces
 * the same requests by a new owner: the newest owner has them, and the old one's entry is freed at once.
 */
export class OwnReservations {
  readonly #accounts: PeerAccounts;
  readonly #anonymous: string;
  readonly #byKey = new Map<string, OwnReservation>();
  readonly #byOwner = new Map<string, Map<string, OwnReservation>>();

  /** `replica` sets apart the callers without a gateway from those of other replicas. */
  constructor(accounts: PeerAccounts, replica: string) {
    this.#accounts = accounts;
    this.#anonymous = `@${replica}`;
  }

  get size(): number {
    return this.#byKey.size;
  }

  has(key: string): boolean {
    return this.#byKey.has(key);
  }

  get(owner: string, requestId: string): OwnReservation | undefined {
    return this.#byOwner.get(owner)?.get(requestId);
  }

  /** Null: its gateway holds it by a newer session already, and it is ended. */
  add(owner: string, gatewayId: string, requestId: string): OwnReservation | null {
    const gateway = gatewayId === '' ? `${owner}${this.#anonymous}` : gatewayId;
    const own: OwnReservation = { owner, gatewayId: gateway, requestId, key: reservationKey(gateway, requestId) };
    const before = this.#byKey.get(own.key);
    if (before !== undefined && before.owner !== owner) {
      const [older, number] = [this.claimNumber(before), this.claimNumber(own)];
      const loser = isNewer(older, number) ? own : before;
      this.#accounts.finish(loser.owner, requestId);
      if (loser === own) return null;
      this.remove(before);
    }
    this.#byKey.set(own.key, own);
    const ofOwner = this.#byOwner.get(owner) ?? new Map<string, OwnReservation>();
    this.#byOwner.set(owner, ofOwner.set(requestId, own));
    return own;
  }

  /** Its gateway's number of it; 0: not told. */
  claimNumber({ owner, requestId }: OwnReservation): bigint {
    return this.#accounts.describe(owner, requestId)?.route?.claimNumber ?? 0n;
  }

  remove({ owner, requestId, key }: OwnReservation): void {
    this.#byKey.delete(key);
    const ofOwner = this.#byOwner.get(owner);
    ofOwner?.delete(requestId);
    if (ofOwner?.size === 0) this.#byOwner.delete(owner);
  }

  /** The one of that name, whoever owns it. */
  named(key: string): OwnReservation | undefined {
    return this.#byKey.get(key);
  }

  ofOwner(owner: string): OwnReservation[] {
    return [...(this.#byOwner.get(owner)?.values() ?? [])];
  }

  /** All of them. May go on while reservations come and go: those that stay throughout are all seen. */
  all(): Iterable<OwnReservation> {
    return this.#byKey.values();
  }

  /** As peers are told; undefined: the accounts have it no more. */
  describe({ owner, requestId, gatewayId }: OwnReservation): Reannounce | undefined {
    const described = this.#accounts.describe(owner, requestId);
    if (described !== undefined) described.gatewayId = gatewayId;
    return described;
  }
}

/** Whether the first of a gateway's two claims on a request is known to be the newer. */
export function isNewer(number: bigint, other: bigint): boolean {
  return other > 0n && number > other;
}

export function wireKey({ gatewayId, requestId }: OwnReservation): ReservationKey {
  return create(ReservationKeySchema, { gatewayId, requestId });
}
