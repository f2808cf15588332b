import { create } from '@bufbuild/protobuf';
import { type Reannounce, ReannounceSchema } from '#gen/stator/router/v1/router_pb.ts';
import type { PeerMetrics } from './metrics.ts';
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
  /** Whether a reservation is this router's own. */
  holdsOwn(key: string): boolean;
}

export type DropReason = 'gone' | 'unreachable';

/**
 * The reservations that replicas told of. While a gateway moves, two replicas have the same one, or this router has it
 * itself: it counts once, this router's own before a replica's. A claim of a replica that cannot be heard gives way for good
 * to anyone else's; one of a replica that can be heard is kept as a shadow, and counts when the other ends.
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
      if (booked || this.#options.holdsOwn(key)) counts.shadowed += claims.length - (booked ? 1 : 0);
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
    for (const claim of [...(this.#byKey.get(key) ?? [])]) {
      this.#unbook(claim);
      if (!claim.book.linked) this.#remove(claim);
    }
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
    const reservation = ownCopy(announced);
    const claim: Claim = { key, book, reservation, snapshot: book.snapshot, booked: false };
    book.claims.set(key, claim);
    const others = this.#byKey.get(key);
    if (others === undefined) this.#byKey.set(key, [claim]);
    else {
      for (const other of [...others]) if (!other.book.linked) this.#remove(other);
      this.#byKey.set(key, [...(this.#byKey.get(key) ?? []), claim]);
    }
    this.#settle(key);
  }

  #update(claim: Claim, announced: Reannounce): void {
    const before = claim.reservation;
    claim.snapshot = claim.book.snapshot;
    claim.reservation = ownCopy(announced);
    if (!claim.booked || !isProgress(before, announced)) {
      this.#unbook(claim);
      this.#settle(claim.key);
      return;
    }
    const { accounts } = this.#options;
    if (announced.prefillDone) accounts.prefillDone(claim.book.owner, claim.key);
    if (announced.outputTokens > 0) accounts.output(claim.book.owner, claim.key, announced.outputTokens);
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
    if (claims === undefined || this.#options.holdsOwn(key) || claims.some((claim) => claim.booked)) return;
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
    return this.#options.holdsOwn(key) || others.some((other) => other.book !== book && other.book.linked);
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

/** With its own bytes: those that arrived are a view that keeps the whole message alive. */
function ownCopy(announced: Reannounce): Reannounce {
  const { route } = announced;
  if (route === undefined) return announced;
  return create(ReannounceSchema, { ...announced, route: { ...route, sequenceHashes: route.sequenceHashes.slice() } });
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
    a.model === b.model &&
    a.promptTokens === b.promptTokens &&
    a.sequences === b.sequences &&
    Buffer.compare(a.sequenceHashes, b.sequenceHashes) === 0
  );
}
