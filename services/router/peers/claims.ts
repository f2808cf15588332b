import type { Reannounce } from '#gen/stator/router/v1/router_pb.ts';
import type { PeerMetrics } from './metrics.ts';
import { isNewer } from './own-reservations.ts';
import { type PeerAccounts, reservationKey } from './ports.ts';

/** What a replica says it has. */
interface Claim {
  readonly key: string;
  readonly book: PeerBook;
  reservation: Reannounce;
  /** Snapshot of the replica that told of it, or during which a change did. */
  snapshot: number;
  booked: boolean;
}

/** Everything that one replica told of. */
interface PeerBook {
  readonly owner: string;
  readonly claims: Map<string, Claim>;
  linked: boolean;
  snapshot: number;
}

export interface PeerClaimsOptions {
  readonly accounts: PeerAccounts;
  readonly metrics: PeerMetrics;
  readonly maxPerPeer: number;
  readonly own: OwnClaims;
}

/** This router's own reservations, as far as claims on the same ones need them. */
export interface OwnClaims {
  has(key: string): boolean;
  /** Its gateway's number of it; 0: not told, or it is not this router's own. */
  claimNumber(key: string): bigint;
  /** Ends one that its gateway holds elsewhere. */
  release(key: string): void;
}

export type DropReason = 'gone' | 'unreachable';

/**
 * The reservations that replicas told of. While a gateway moves, two replicas have the same one, or this router has it
 * itself: it counts once. Where the gateway numbers its claims the highest is true, even against this router's own, and the
 * others end. Otherwise this router's own comes before a replica's, a claim of a replica that cannot be heard gives way for
 * good to anyone else's, and one of a replica that can be heard is kept as a shadow, which counts when the other ends.
 */
export class PeerClaims {
  readonly #options: PeerClaimsOptions;
  readonly #books = new Map<bigint, PeerBook>();
  readonly #byKey = new Map<string, Claim[]>();

  constructor(options: PeerClaimsOptions) {
    this.#options = options;
  }

  /** Reservations told of, by how they count. */
  count(): { counted: number; shadowed: number; waiting: number } {
    const counts = { counted: 0, shadowed: 0, waiting: 0 };
    for (const [key, claims] of this.#byKey) {
      const booked = claims.some((claim) => claim.booked);
      if (booked) counts.counted++;
      if (booked || this.#options.own.has(key)) counts.shadowed += claims.length - (booked ? 1 : 0);
      else counts.waiting += claims.length;
    }
    return counts;
  }

  /** How many a replica has; 0 too for one that is not known. */
  size(peer: bigint): number {
    return this.#books.get(peer)?.claims.size ?? 0;
  }

  /** A replica can be heard now, or no longer. */
  setLinked(peer: bigint, linked: boolean): void {
    const book = this.#book(peer);
    book.linked = linked;
    if (linked) return;
    for (const claim of [...book.claims.values()]) if (this.#isShadowed(claim)) this.#remove(claim);
  }

  beginSnapshot(peer: bigint): void {
    this.#book(peer).snapshot++;
  }

  /** What the replica had before and did not tell of since the snapshot began is gone. */
  endSnapshot(peer: bigint): void {
    const book = this.#book(peer);
    for (const claim of [...book.claims.values()]) {
      if (claim.snapshot === book.snapshot) continue;
      this.#remove(claim);
      this.#options.metrics.dropped.inc({ because: 'snapshot' });
    }
  }

  /** The reservation is kept: it must be of nobody else. */
  placed(peer: bigint, reservation: Reannounce): void {
    const book = this.#book(peer);
    const key = reservationKey(reservation.gatewayId, reservation.route?.requestId ?? '');
    const known = book.claims.get(key);
    if (known === undefined) this.#add(book, key, reservation);
    else this.#update(known, reservation);
  }

  prefillDone(peer: bigint, key: string): void {
    const claim = this.#books.get(peer)?.claims.get(key);
    if (claim === undefined) return;
    claim.reservation.prefillDone = true;
    if (claim.booked) this.#options.accounts.prefillDone(claim.book.owner, key);
  }

  finished(peer: bigint, key: string): void {
    const book = this.#books.get(peer);
    // It may have been placed and ended within one message, so that nothing else told of its move.
    for (const claim of [...(this.#byKey.get(key) ?? [])])
      if (claim.book === book || !claim.book.linked) this.#remove(claim);
  }

  /** A replica is gone with all that it told of. */
  drop(peer: bigint, because: DropReason): number {
    const book = this.#books.get(peer);
    if (book === undefined) return 0;
    const dropped = book.claims.size;
    for (const claim of [...book.claims.values()]) this.#remove(claim);
    this.#books.delete(peer);
    if (dropped > 0) this.#options.metrics.dropped.inc({ because }, dropped);
    return dropped;
  }

  /** This router has a reservation itself now. */
  ownPlaced(key: string): void {
    const claims = this.#byKey.get(key);
    if (claims === undefined) return;
    for (const claim of claims) this.#unbook(claim);
    for (const claim of [...claims]) this.#contestOwn(claim);
  }

  /** This router's own reservation ended: a replica that has it too counts from now on. */
  ownEnded(key: string): void {
    this.#settle(key);
  }

  /** A worker became known: what replicas placed there counts now. */
  workerUp(instanceId: bigint): void {
    for (const [key, claims] of this.#byKey)
      if (claims.some(({ reservation }) => reservation.instanceId === instanceId)) this.#settle(key);
  }

  /** The accounts have dropped everything of a worker; the replicas may still know it. */
  workerGone(instanceId: bigint): void {
    for (const claims of this.#byKey.values())
      for (const claim of claims) if (claim.reservation.instanceId === instanceId) claim.booked = false;
  }

  #add(book: PeerBook, key: string, announced: Reannounce): void {
    if (book.claims.size >= this.#options.maxPerPeer) {
      this.#options.metrics.dropped.inc({ because: 'limit' });
      return;
    }
    const claim: Claim = { key, book, reservation: detached(announced), snapshot: book.snapshot, booked: false };
    book.claims.set(key, claim);
    this.#byKey.set(key, [...(this.#byKey.get(key) ?? []), claim]);
    this.#contest(claim);
  }

  #update(claim: Claim, announced: Reannounce): void {
    const before = claim.reservation;
    claim.snapshot = claim.book.snapshot;
    claim.reservation = detached(announced);
    if (!claim.booked || !isProgress(before, announced)) {
      this.#unbook(claim);
      this.#contest(claim);
      return;
    }
    const { accounts } = this.#options;
    if (announced.prefillDone) accounts.prefillDone(claim.book.owner, claim.key);
    if (announced.outputTokens > before.outputTokens)
      accounts.output(claim.book.owner, claim.key, announced.outputTokens);
  }

  /** Ends whatever a new claim shows to be past, or the claim itself, and books what is left. */
  #contest(claim: Claim): void {
    const { key } = claim;
    for (const other of [...(this.#byKey.get(key) ?? [])]) {
      if (other === claim) continue;
      if (!other.book.linked || isNewer(numberOf(claim), numberOf(other))) this.#remove(other);
      else if (isNewer(numberOf(other), numberOf(claim))) {
        this.#remove(claim);
        return;
      }
    }
    if (this.#options.own.has(key)) this.#contestOwn(claim);
    this.#settle(key);
  }

  #contestOwn(claim: Claim): void {
    const { own } = this.#options;
    const number = own.claimNumber(claim.key);
    if (isNewer(numberOf(claim), number)) own.release(claim.key);
    else if (!claim.book.linked || isNewer(number, numberOf(claim))) this.#remove(claim);
  }

  #remove(claim: Claim): void {
    const { key, book } = claim;
    this.#unbook(claim);
    book.claims.delete(key);
    const left = (this.#byKey.get(key) ?? []).filter((other) => other !== claim);
    if (left.length === 0) this.#byKey.delete(key);
    else this.#byKey.set(key, left);
    this.#settle(key);
  }

  /** Books one of the claims on a reservation that does not count yet. */
  #settle(key: string): void {
    const claims = this.#byKey.get(key);
    if (claims === undefined || this.#options.own.has(key) || claims.some((claim) => claim.booked)) return;
    for (const claim of claims) {
      claim.booked = this.#options.accounts.book(claim.book.owner, key, claim.reservation);
      if (claim.booked) return;
    }
  }

  #unbook(claim: Claim): void {
    if (!claim.booked) return;
    claim.booked = false;
    this.#options.accounts.finish(claim.book.owner, claim.key);
  }

  #isShadowed({ key, book }: Claim): boolean {
    const others = this.#byKey.get(key) ?? [];
    return this.#options.own.has(key) || others.some((other) => other.book !== book && other.book.linked);
  }

  #book(peer: bigint): PeerBook {
    let book = this.#books.get(peer);
    if (book === undefined) {
      book = { owner: `peer:${peer.toString(16)}`, claims: new Map(), linked: false, snapshot: 0 };
      this.#books.set(peer, book);
    }
    return book;
  }
}

/** The gateway's number of a claim; 0: not told. */
function numberOf({ reservation }: Claim): bigint {
  return reservation.route?.claimNumber ?? 0n;
}

/** Lets go of the message: its bytes are a view that would keep all of it alive. */
function detached(announced: Reannounce): Reannounce {
  const { route } = announced;
  if (route !== undefined) route.sequenceHashes = route.sequenceHashes.slice();
  return announced;
}

/** Whether it is the same reservation, only further on. */
function isProgress(before: Reannounce, now: Reannounce): boolean {
  const [a, b] = [before.route, now.route];
  if (a === undefined || b === undefined) return false;
  return (
    before.instanceId === now.instanceId &&
    before.dataParallelRank === now.dataParallelRank &&
    before.overlapTokens === now.overlapTokens &&
    (now.prefillDone || !before.prefillDone) &&
    now.outputTokens >= before.outputTokens &&
    a.claimNumber === b.claimNumber &&
    a.model === b.model &&
    a.promptTokens === b.promptTokens &&
    a.sequences === b.sequences &&
    Buffer.compare(a.sequenceHashes, b.sequenceHashes) === 0
  );
}
