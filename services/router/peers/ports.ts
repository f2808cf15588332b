import type { Reannounce, SessionBinding } from '#gen/stator/router/v1/router_pb.ts';

/**
 * What the router tells of its own reservations, after each is in its accounts. An owner is a gateway's stream, or the
 * calls without one. Reservations that peers told of are never told here.
 */
export interface ReservationObserver {
  /** `gatewayId` is the one of the session's hello; empty for callers without. */
  placed(owner: string, gatewayId: string, requestId: string): void;
  prefillDone(owner: string, requestId: string): void;
  finished(owner: string, requestId: string): void;
  /** Everything of the owner has ended. */
  ownerEnded(owner: string): void;
  /** A session's binding was made or used here. Never for what a peer advised. */
  sessionBound(binding: SessionBinding): void;
}

/** The router's accounts, as far as replicas need them. */
export interface PeerAccounts {
  /** A new message of one of this router's own reservations as it is now; undefined: it is not in force. */
  describe(owner: string, requestId: string): Reannounce | undefined;
  /** Books a peer's reservation as it is now, prefill and output included; false: its worker is not known here. */
  book(owner: string, requestId: string, reservation: Reannounce): boolean;
  prefillDone(owner: string, requestId: string): void;
  output(owner: string, requestId: string, outputTokens: number): void;
  /** Ends a reservation, if there is one, without telling the observer. */
  finish(owner: string, requestId: string): void;
}

/** The table of session bindings, as far as replicas need it. */
export interface PeerSessions {
  /** Every binding in force; those that other replicas made are passed over. */
  bindings(): Iterable<SessionBinding>;
  /** What a peer tells. Advice: unknown workers and older uses change nothing. */
  advise(bindings: readonly SessionBinding[]): void;
}

/** Time and its passing. Only durations of this machine count, never its time of day or another's. */
export interface PeerClock {
  /** Monotonic milliseconds. */
  nowMs(): number;
  /** Calls back once after some time; returns how to call it off. */
  after(ms: number, run: () => void): () => void;
}

export const systemClock: PeerClock = {
  nowMs: () => performance.now(),
  after: (ms, run) => {
    const timer = setTimeout(run, ms).unref();
    return () => clearTimeout(timer);
  },
};

/** The name of a reservation among all replicas. */
export function reservationKey(gatewayId: string, requestId: string): string {
  return `${gatewayId}\0${requestId}`;
}
