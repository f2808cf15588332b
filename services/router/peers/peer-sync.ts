import type { Logger } from 'pino';
import { ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import type { SessionBinding, SyncPeersRequest } from '#gen/stator/router/v1/router_pb.ts';
import type { Discovery, Watch } from '#lib/discovery/discovery.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { ChangeBatch, maxPartReservations } from './change-batch.ts';
import { PeerClaims } from './claims.ts';
import type { OpenStream } from './dialer.ts';
import { type LinkEnd, PeerLink } from './link.ts';
import type { PeerMetrics } from './metrics.ts';
import { type OwnReservation, OwnReservations } from './own-reservations.ts';
import { PeerTable } from './peer-table.ts';
import {
  type PeerAccounts,
  type PeerClock,
  type PeerSessions,
  type ReservationObserver,
  reservationKey,
} from './ports.ts';
import { snapshotParts } from './snapshot.ts';

export interface PeerSyncConfig {
  readonly peers: readonly string[];
  readonly peerBatchMs: number;
  readonly peerHoldSeconds: number;
  readonly peerHeartbeatMs: number;
  readonly peerBufferMib: number;
  readonly peerMaxReservations: number;
  readonly maxPeers: number;
}

export interface PeerSyncOptions {
  readonly instanceId: bigint;
  readonly config: PeerSyncConfig;
  readonly discovery: Pick<Discovery, 'watch'>;
  readonly accounts: PeerAccounts;
  readonly sessions: PeerSessions;
  readonly metrics: PeerMetrics;
  readonly log: Logger;
  readonly clock: PeerClock;
  /** For the waits between attempts. */
  readonly random: () => number;
  readonly openStream: OpenStream;
}

/** Milliseconds after which what was applied is acknowledged, if nothing else is sent meanwhile. */
const acknowledgeMs = 20;
/** Milliseconds that replicas get to read the last message when the router stops. */
const farewellMs = 1000;

/**
 * Keeps replicas of the router aware of each other's reservations, so that each sees the load that all have placed. Each
 * tells only of its own gateways' reservations, first all of them, then every change; there is no consensus and nothing
 * waits for a replica. What a replica told of counts until it says otherwise or is gone; nothing expires by age.
 */
export class PeerSync implements ReservationObserver {
  readonly #options: PeerSyncOptions;
  readonly #own: OwnReservations;
  readonly #claims: PeerClaims;
  readonly #table: PeerTable;
  readonly #batch = new ChangeBatch();
  /** All streams, those too whose replica has not said who it is. */
  readonly #links = new Set<PeerLink>();
  #lastNumber = 0n;
  #watch: Watch | undefined;
  #callOffTick: (() => void) | undefined;
  #callOffFlush: (() => void) | undefined;
  #callOffAcknowledgement: (() => void) | undefined;
  #closing: PromiseWithResolvers<void> | undefined;

  constructor(options: PeerSyncOptions) {
    const { accounts, metrics, config, instanceId, clock, random, log, openStream } = options;
    this.#options = options;
    this.#own = new OwnReservations(accounts, instanceId.toString(16));
    this.#claims = new PeerClaims({
      accounts,
      metrics,
      maxPerPeer: config.peerMaxReservations,
      own: {
        has: (key) => this.#own.has(key),
        claimNumber: (key) => this.#claimNumber(key),
        release: (key) => this.#release(key),
      },
    });
    this.#table = new PeerTable({
      instanceId,
      claims: this.#claims,
      clock,
      random,
      log,
      holdMs: config.peerHoldSeconds * 1000,
      heartbeatMs: config.peerHeartbeatMs,
      maxPeers: config.maxPeers,
      newLink: (dialed) => this.#newLink(dialed),
      openStream,
    });
  }

  /** Identifiers of the replicas with whom there is a stream. */
  get linked(): bigint[] {
    return this.#table.links().flatMap(({ peer }) => peer ?? []);
  }

  /** Reservations that replicas told of, by how they count. */
  get told(): { counted: number; shadowed: number; waiting: number } {
    return this.#claims.count();
  }

  /** Finds replicas and opens streams to them from now on. */
  start(): void {
    const { discovery, config, clock } = this.#options;
    this.#watch = discovery.watch(ServiceKind.ROUTER, {
      onUp: (instance) => this.#table.up(instance),
      onChange: (instance) => this.#table.up(instance),
      onDown: ({ instanceId }, reason) => this.#table.down(instanceId, reason),
    });
    for (const address of config.peers) this.#table.addStatic(address);
    const tick = (): void => {
      this.#callOffTick = clock.after(config.peerHeartbeatMs, tick);
      for (const link of [...this.#links]) link.tick();
      this.#measure();
    };
    this.#callOffTick = clock.after(config.peerHeartbeatMs, tick);
  }

  /** A stream that a replica opened. Throws `draining` when the router stops. */
  accept(): PeerLink {
    if (this.#closing !== undefined) throw new StatorError('draining', 'The router is stopping.');
    return this.#newLink(false);
  }

  /** Tells replicas that this router has nothing any more, and ends the streams. Idempotent. */
  async close(): Promise<void> {
    if (this.#closing !== undefined) return this.#closing.promise;
    this.#closing = Promise.withResolvers<void>();
    this.#watch?.close();
    this.#table.close();
    this.#callOffTick?.();
    this.#callOffFlush?.();
    this.#callOffAcknowledgement?.();
    const callOff = this.#options.clock.after(farewellMs, () => {
      for (const link of [...this.#links]) link.end('closed');
    });
    for (const link of [...this.#links]) link.finish();
    if (this.#links.size > 0) await this.#closing.promise;
    this.#closing.resolve();
    callOff();
  }

  placed(owner: string, gatewayId: string, requestId: string): void {
    const own = this.#own.add(owner, gatewayId, requestId);
    if (own === null) return;
    this.#claims.ownPlaced(own.key);
    this.#changed((batch) => batch.placed(own));
  }

  prefillDone(owner: string, requestId: string): void {
    const own = this.#own.get(owner, requestId);
    if (own !== undefined) this.#changed((batch) => batch.prefillDone(own));
  }

  finished(owner: string, requestId: string): void {
    const own = this.#own.get(owner, requestId);
    if (own !== undefined) this.#ended(own);
  }

  ownerEnded(owner: string): void {
    for (const own of this.#own.ofOwner(owner)) this.#ended(own);
  }

  sessionBound(binding: SessionBinding): void {
    this.#changed((batch) => batch.bound(binding));
  }

  /** A worker became known: what replicas placed there is booked now. */
  workerUp(instanceId: bigint): void {
    this.#claims.workerUp(instanceId);
  }

  /** A worker is gone, and the accounts have ended all that was placed there, by this router and by others. */
  workerGone(instanceId: bigint): void {
    this.#claims.workerGone(instanceId);
    for (const own of [...this.#own.all()]) if (this.#own.describe(own) === undefined) this.#ended(own);
  }

  #ended(own: OwnReservation): void {
    this.#own.remove(own);
    this.#claims.ownEnded(own.key);
    this.#changed((batch) => batch.finished(own));
  }

  #claimNumber(key: string): bigint {
    const own = this.#own.named(key);
    return own === undefined ? 0n : this.#own.claimNumber(own);
  }

  /** Its gateway holds it elsewhere by now: the end of the old session, which would free it, may be long in coming. */
  #release(key: string): void {
    const own = this.#own.named(key);
    if (own === undefined) return;
    this.#options.accounts.finish(own.owner, own.requestId);
    this.#ended(own);
  }

  #changed(note: (batch: ChangeBatch) => void): void {
    if (this.#table.links().length === 0) return;
    note(this.#batch);
    if (this.#batch.size >= maxPartReservations) this.#flush();
    else this.#callOffFlush ??= this.#options.clock.after(this.#options.config.peerBatchMs, () => this.#flush());
  }

  #flush(): void {
    this.#callOffFlush?.();
    this.#callOffFlush = undefined;
    if (this.#batch.size === 0) return;
    const links = this.#table.links();
    for (const changes of this.#batch.take((own) => this.#own.describe(own))) {
      this.#lastNumber++;
      for (const link of links) link.push({ ...changes, sequenceNumber: this.#lastNumber });
    }
  }

  #newLink(dialed: boolean): PeerLink {
    const { instanceId, config, metrics, clock, sessions } = this.#options;
    const link = new PeerLink({
      instanceId,
      dialed,
      maxBufferedBytes: config.peerBufferMib * 2 ** 20,
      metrics,
      nowMs: () => clock.nowMs(),
      lastNumber: () => this.#lastNumber,
      snapshot: () => snapshotParts(this.#own, sessions, instanceId),
      onPeer: (known, peer) => this.#table.met(known, peer),
      onSnapshotBegins: ({ peer }) => {
        if (peer !== undefined) this.#claims.beginSnapshot(peer);
      },
      onChanges: ({ peer }, changes) => {
        if (peer !== undefined) this.#apply(peer, changes);
      },
      onSnapshotEnds: (told) => {
        if (told.peer !== undefined) this.#claims.endSnapshot(told.peer);
        this.#table.heard(told);
      },
      onEnd: (ended, because, error) => this.#linkEnded(ended, because, error),
    });
    this.#links.add(link);
    return link;
  }

  #apply(peer: bigint, { finished, placed, prefillDone, sessions }: SyncPeersRequest): void {
    for (const { gatewayId, requestId } of finished) this.#claims.finished(peer, reservationKey(gatewayId, requestId));
    for (const reservation of placed) {
      if (reservation.route === undefined)
        throw StatorError.invalid('placed.route', 'A reservation lacks its request.');
      this.#claims.placed(peer, reservation);
    }
    for (const { gatewayId, requestId } of prefillDone)
      this.#claims.prefillDone(peer, reservationKey(gatewayId, requestId));
    if (sessions.length > 0) this.#options.sessions.advise(sessions);
    this.#callOffAcknowledgement ??= this.#options.clock.after(acknowledgeMs, () => {
      this.#callOffAcknowledgement = undefined;
      for (const link of this.#links) link.acknowledgeNow();
    });
  }

  #linkEnded(link: PeerLink, because: LinkEnd, error: StatorError | undefined): void {
    this.#links.delete(link);
    this.#table.ended(link, because);
    const level = because === 'failed' || because === 'silent' ? 'warn' : 'debug';
    this.#options.log[level]({ peer: link.peer?.toString(16), because, err: error }, 'stream with a replica ended');
    if (this.#links.size === 0) this.#closing?.resolve();
  }

  #measure(): void {
    const { metrics } = this.#options;
    for (const [state, count] of Object.entries(this.#table.count())) metrics.peers.set({ state }, count);
    for (const [state, count] of Object.entries(this.#claims.count())) metrics.reservations.set({ state }, count);
    const lags = this.#table.links().map(({ lagMs }) => lagMs);
    metrics.lagSeconds.set(Math.max(0, ...lags) / 1000);
  }
}
