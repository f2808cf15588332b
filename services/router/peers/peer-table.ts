import type { Logger } from 'pino';
import type { Instance } from '#gen/stator/discovery/v1/discovery_pb.ts';
import type { DownReason } from '#lib/discovery/discovery.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { PeerClaims } from './claims.ts';
import { Dialer, type OpenStream, type PeerTarget } from './dialer.ts';
import type { LinkEnd, PeerLink } from './link.ts';
import type { PeerClock } from './ports.ts';

export interface PeerTableOptions {
  readonly instanceId: bigint;
  readonly claims: PeerClaims;
  readonly clock: PeerClock;
  readonly random: () => number;
  readonly log: Logger;
  readonly holdMs: number;
  readonly heartbeatMs: number;
  readonly maxPeers: number;
  newLink(dialed: boolean): PeerLink;
  readonly openStream: OpenStream;
}

interface Peer {
  readonly id: bigint;
  link: PeerLink | undefined;
  /** As discovery has it now. */
  instance: Instance | undefined;
  /** Discovery said that it is gone. */
  gone: boolean;
  dialer: Dialer | undefined;
  /** Calls off the end of holding what it told of. */
  callOffHold: (() => void) | undefined;
}

/** An address of the settings, and who answered there last. */
interface StaticPeer {
  readonly address: string;
  readonly dialer: Dialer;
  id: bigint | undefined;
}

/** Heartbeats for which the replica with the higher identifier leaves it to the other one to open their stream. */
const patienceHeartbeats = 5;

/**
 * The replicas and the one stream with each. The replica with the lower identifier opens it; where both did, its stream
 * stays, and of two that one side opened the newer. What a replica told of outlives its stream for a while, unless
 * discovery too says that it is gone.
 */
export class PeerTable {
  readonly #options: PeerTableOptions;
  readonly #peers = new Map<bigint, Peer>();
  readonly #statics: StaticPeer[] = [];
  readonly #dialedBy = new Map<PeerLink, Dialer>();

  constructor(options: PeerTableOptions) {
    this.#options = options;
  }

  /** The streams in use, one for each replica that can be heard. */
  links(): PeerLink[] {
    return [...this.#peers.values()].flatMap(({ link }) => link ?? []);
  }

  isCurrent(link: PeerLink): boolean {
    return link.peer !== undefined && this.#peers.get(link.peer)?.link === link;
  }

  /** Dials an address of the settings. */
  addStatic(address: string): void {
    const fixed: StaticPeer = {
      address,
      id: undefined,
      dialer: this.#dialer({
        patienceMs: 0,
        isLinked: () => fixed.id !== undefined && this.#peers.get(fixed.id)?.link !== undefined,
        target: { address },
      }),
    };
    this.#statics.push(fixed);
  }

  /** Discovery has a replica, or has it changed. */
  up(instance: Instance): void {
    const { instanceId: id, address, tls } = instance;
    if (id === this.#options.instanceId) return;
    const peer = this.#know(id);
    if (peer === undefined) return;
    const moved = peer.instance?.address !== address;
    peer.instance = instance;
    peer.gone = false;
    if (moved) {
      this.#replaced(id, (other) => other.instance?.address === address);
      peer.dialer?.close();
      peer.dialer = this.#dialer({
        patienceMs: this.#options.instanceId < id ? 0 : patienceHeartbeats * this.#options.heartbeatMs,
        isLinked: () => peer.link !== undefined,
        target: { address, tls },
      });
    }
    this.#review(peer);
  }

  /** Discovery lost a replica. */
  down(id: bigint, reason: DownReason): void {
    const peer = this.#peers.get(id);
    if (peer === undefined) return;
    peer.instance = undefined;
    // A view that was cut off from its back end proves nothing.
    peer.gone = reason !== 'stale';
    if (peer.gone) peer.dialer?.close();
    this.#review(peer);
  }

  /** A replica said at a new stream who it is. */
  met(link: PeerLink, id: bigint): void {
    if (id === this.#options.instanceId) {
      link.end('self', new StatorError('conflict', 'The router reached itself.'));
      return;
    }
    const peer = this.#know(id);
    if (peer === undefined) {
      const message = `This router knows ${this.#options.maxPeers} replicas, the most that it keeps.`;
      link.end('refused', new StatorError('overloaded', message, { retryAfterMs: 10_000 }));
      return;
    }
    this.#answered(link, id);
    const before = peer.link;
    if (before !== undefined && !this.#isPreferred(link, before, id)) {
      link.end('duplicate', new StatorError('conflict', 'There is a stream between these replicas already.'));
      return;
    }
    peer.link = link;
    before?.end('duplicate', new StatorError('conflict', 'A newer stream replaces this one.'));
    this.#options.claims.setLinked(id, true);
    this.#review(peer);
    this.#options.log.info({ peer: id.toString(16), dialed: link.dialed }, 'replica linked');
  }

  /** A replica told all that it has: the stream that was opened to it works. */
  heard(link: PeerLink): void {
    this.#dialedBy.get(link)?.succeeded();
  }

  /** A stream ended. */
  ended(link: PeerLink, because: LinkEnd): void {
    const dialer = this.#dialedBy.get(link);
    this.#dialedBy.delete(link);
    if (because === 'self') dialer?.close();
    else dialer?.ended();
    const peer = link.peer === undefined ? undefined : this.#peers.get(link.peer);
    if (peer === undefined || peer.link !== link) return;
    peer.link = undefined;
    this.#options.claims.setLinked(peer.id, false);
    this.#review(peer);
    peer.dialer?.wake();
    for (const fixed of this.#statics) if (fixed.id === peer.id) fixed.dialer.wake();
  }

  /** Replicas by state, for metrics. */
  count(): { linked: number; held: number; apart: number } {
    const counts = { linked: 0, held: 0, apart: 0 };
    for (const { id, link } of this.#peers.values()) {
      if (link !== undefined) counts.linked++;
      else if (this.#options.claims.size(id) > 0) counts.held++;
      else counts.apart++;
    }
    return counts;
  }

  close(): void {
    for (const { dialer } of this.#statics) dialer.close();
    for (const { dialer, callOffHold } of this.#peers.values()) {
      dialer?.close();
      callOffHold?.();
    }
  }

  #know(id: bigint): Peer | undefined {
    const known = this.#peers.get(id);
    if (known !== undefined) return known;
    if (this.#peers.size >= this.#options.maxPeers) {
      this.#options.log.warn({ peer: id.toString(16) }, 'replica left out: there are too many');
      return undefined;
    }
    const peer: Peer = {
      id,
      link: undefined,
      instance: undefined,
      gone: false,
      dialer: undefined,
      callOffHold: undefined,
    };
    this.#peers.set(id, peer);
    return peer;
  }

  #dialer(plan: { patienceMs: number; isLinked: () => boolean; target: PeerTarget }): Dialer {
    const { clock, random, heartbeatMs, newLink, openStream } = this.#options;
    const dialer = new Dialer({
      clock,
      random,
      patienceMs: plan.patienceMs,
      firstBackoffMs: Math.max(10, heartbeatMs / 10),
      maxBackoffMs: 10 * heartbeatMs,
      isLinked: plan.isLinked,
      open: () => {
        const link = newLink(true);
        this.#dialedBy.set(link, dialer);
        openStream(plan.target, link);
      },
    });
    return dialer;
  }

  #answered(link: PeerLink, id: bigint): void {
    const dialer = this.#dialedBy.get(link);
    const fixed = this.#statics.find((each) => each.dialer === dialer);
    if (fixed === undefined) return;
    const before = fixed.id;
    fixed.id = id;
    // An address is of one replica: who answered there before is no more.
    if (before !== undefined && before !== id) this.#replaced(id, (other) => other.id === before);
  }

  #isPreferred(link: PeerLink, before: PeerLink, id: bigint): boolean {
    if (link.dialed === before.dialed) return true;
    return link.dialed === this.#options.instanceId < id;
  }

  #replaced(by: bigint, isMeant: (peer: Peer) => boolean): void {
    for (const peer of [...this.#peers.values()]) {
      if (peer.id === by || !isMeant(peer)) continue;
      peer.gone = true;
      this.#review(peer);
    }
  }

  /** Decides whether what a replica told of still counts, and for how long. */
  #review(peer: Peer): void {
    if (peer.link !== undefined) {
      peer.callOffHold?.();
      peer.callOffHold = undefined;
    } else if (peer.gone) this.#drop(peer, 'gone');
    else
      peer.callOffHold ??= this.#options.clock.after(this.#options.holdMs, () => {
        peer.callOffHold = undefined;
        this.#drop(peer, 'unreachable');
      });
  }

  #drop(peer: Peer, because: 'gone' | 'unreachable'): void {
    const { claims, log } = this.#options;
    peer.callOffHold?.();
    peer.callOffHold = undefined;
    const dropped = claims.drop(peer.id, because);
    if (dropped > 0) log.warn({ peer: peer.id.toString(16), because, dropped }, 'reservations of a replica dropped');
    if (peer.instance !== undefined && !peer.gone) return;
    peer.dialer?.close();
    this.#peers.delete(peer.id);
  }
}
