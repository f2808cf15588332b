import { create } from '@bufbuild/protobuf';
import {
  type Reannounce,
  type SessionBinding,
  type SyncPeersRequest,
  SyncPeersRequestSchema,
} from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { Changes } from './change-batch.ts';
import type { PeerMetrics, ResyncReason } from './metrics.ts';

/** Changes with their number. */
export interface NumberedChanges extends Changes {
  readonly sequenceNumber: bigint;
  /** About its size on the wire. */
  readonly bytes: number;
}

/** Why a stream with a replica ended. */
export type LinkEnd = 'closed' | 'failed' | 'silent' | 'duplicate' | 'self' | 'refused';

export interface LinkOptions {
  /** This router. */
  readonly instanceId: bigint;
  /** Whether this router opened the stream. */
  readonly dialed: boolean;
  /** Most bytes of changes that wait for the transport. */
  readonly maxBufferedBytes: number;
  readonly metrics: PeerMetrics;
  readonly nowMs: () => number;
  /** Number of the last change that was made. */
  lastNumber(): bigint;
  /** Everything of its own that this router has, in parts. */
  snapshot(): Iterator<{ readonly placed: Reannounce[]; readonly sessions: SessionBinding[] }>;
  /** The replica at the other end said who it is. */
  onPeer(link: PeerLink, peer: bigint): void;
  /** The replica's changes, in order and without a gap. */
  onSnapshotBegins(link: PeerLink): void;
  onChanges(link: PeerLink, changes: SyncPeersRequest): void;
  onSnapshotEnds(link: PeerLink): void;
  onEnd(link: PeerLink, because: LinkEnd, error: StatorError | undefined): void;
}

/** Signs of life that may be missing before a stream counts as dead. */
const maxMissed = 5;

/**
 * One stream between this router and a replica, whoever opened it, without its transport: the transport asks for the `next`
 * message whenever it can take one, which is how a slow replica is noticed, and passes on those that it receives.
 */
export class PeerLink {
  readonly dialed: boolean;
  readonly #options: LinkOptions;
  #peer: bigint | undefined;
  #ended = false;
  #farewell: 'none' | 'due' | 'said' = 'none';
  #transport: { ready(): void; close(error: StatorError | undefined): void } | undefined;
  // Outgoing.
  #saidHello = false;
  #queue: NumberedChanges[] = [];
  #queuedBytes = 0;
  #snapshot: ReturnType<LinkOptions['snapshot']> | undefined;
  #snapshotBegins = false;
  #snapshotTurn = true;
  #needsSnapshot = false;
  #sentNumber = 0n;
  #signDue = false;
  #probe: { readonly number: bigint; readonly sinceMs: number } | undefined;
  #lagMs = 0;
  // Incoming.
  #missed = 0;
  #applied: bigint | undefined;
  #acknowledged = 0n;
  #asking = false;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.dialed = options.dialed;
  }

  /** The replica at the other end; undefined: it has not said yet. */
  get peer(): bigint | undefined {
    return this.#peer;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** How long the oldest change has waited for the replica's word that it is applied, or the last such change did. */
  get lagMs(): number {
    return this.#probe === undefined ? this.#lagMs : Math.max(this.#lagMs, this.#options.nowMs() - this.#probe.sinceMs);
  }

  /** `ready`: `next` may have a message. `close`: end the stream now, undefined: in good order. */
  attach(transport: { ready(): void; close(error: StatorError | undefined): void }): void {
    this.#transport = transport;
  }

  /** Queues changes of this router. One for whom too much waits gets a snapshot when it can take one. */
  push(changes: NumberedChanges): void {
    if (this.#ended || this.#peer === undefined || this.#needsSnapshot) return;
    if (this.#queue.length > 0 && this.#queuedBytes + changes.bytes > this.#options.maxBufferedBytes) {
      this.#resync('slow');
      return;
    }
    this.#queue.push(changes);
    this.#queuedBytes += changes.bytes;
    this.#probe ??= { number: changes.sequenceNumber, sinceMs: this.#options.nowMs() };
    this.#transport?.ready();
  }

  /** The message to send now, if any. */
  next(): SyncPeersRequest | undefined {
    if (this.#ended) return undefined;
    const message = this.#produce();
    if (message !== undefined) this.#options.metrics.messages.inc({ direction: 'sent' });
    return message;
  }

  receive(message: SyncPeersRequest): void {
    if (this.#ended) return;
    this.#options.metrics.messages.inc({ direction: 'received' });
    this.#missed = 0;
    this.#identify(message.routerInstanceId);
    if (this.#ended) return;
    this.#acknowledge(message.acknowledged);
    if (message.resync && this.#snapshot === undefined) this.#resync('asked');
    if (message.snapshot) this.#receiveSnapshot(message);
    else this.#receiveChanges(message);
  }

  /** A sign of life is due; a link that heard none for too long ends. */
  tick(): void {
    if (this.#ended) return;
    if (++this.#missed > maxMissed) {
      this.end('silent', new StatorError('deadline_exceeded', 'The replica fell silent.'));
      return;
    }
    this.#signal();
  }

  /** Sends what waits and a last, empty snapshot: this router has nothing any more. Then the stream ends. */
  finish(): void {
    if (this.#ended) return;
    if (this.#farewell === 'none') this.#farewell = 'due';
    this.#transport?.ready();
  }

  /** The stream is over, or shall be. Idempotent. */
  end(because: LinkEnd, error?: StatorError): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#clearQueue();
    this.#snapshot = undefined;
    this.#probe = undefined;
    this.#options.metrics.linksEnded.inc({ because });
    this.#transport?.close(error);
    this.#options.onEnd(this, because, error);
  }

  #produce(): SyncPeersRequest | undefined {
    if (!this.#saidHello) {
      this.#saidHello = true;
      return this.#message({ sequenceNumber: 0n });
    }
    if (this.#farewell !== 'none') return this.#sayFarewell();
    if (this.#peer === undefined) return undefined;
    if (this.#needsSnapshot) this.#beginSnapshot();
    const changes = this.#snapshot !== undefined && this.#snapshotTurn ? undefined : this.#queue.shift();
    this.#snapshotTurn = true;
    if (changes !== undefined) {
      this.#sentNumber = changes.sequenceNumber;
      this.#queuedBytes -= changes.bytes;
      const { bytes: _, ...content } = changes;
      return this.#message(content);
    }
    if (this.#snapshot !== undefined) return this.#snapshotPart(this.#snapshot);
    if (!this.#signDue) return undefined;
    return this.#message({ sequenceNumber: this.#sentNumber });
  }

  #beginSnapshot(): void {
    this.#needsSnapshot = false;
    this.#clearQueue();
    this.#snapshot = this.#options.snapshot();
    this.#snapshotBegins = true;
    this.#sentNumber = this.#options.lastNumber();
  }

  #snapshotPart(parts: ReturnType<LinkOptions['snapshot']>): SyncPeersRequest {
    const part = parts.next();
    const snapshotBegins = this.#snapshotBegins;
    this.#snapshotBegins = false;
    this.#snapshotTurn = false;
    if (part.done === true) this.#snapshot = undefined;
    else this.#transport?.ready();
    return this.#message({
      sequenceNumber: this.#sentNumber,
      snapshot: true,
      snapshotBegins,
      snapshotEnds: part.done === true,
      ...(part.done === true ? {} : part.value),
    });
  }

  #sayFarewell(): SyncPeersRequest | undefined {
    const due = this.#farewell === 'due' && this.#peer !== undefined;
    this.#farewell = 'said';
    queueMicrotask(() => this.end('closed'));
    if (!due) return undefined;
    const sequenceNumber = this.#options.lastNumber();
    return this.#message({ sequenceNumber, snapshot: true, snapshotBegins: true, snapshotEnds: true });
  }

  #message(content: Partial<Omit<SyncPeersRequest, '$typeName' | '$unknown'>>): SyncPeersRequest {
    this.#signDue = false;
    this.#acknowledged = this.#applied ?? 0n;
    return create(SyncPeersRequestSchema, {
      ...content,
      routerInstanceId: this.#options.instanceId,
      acknowledged: this.#acknowledged,
      resync: this.#asking,
    });
  }

  #identify(instanceId: bigint): void {
    if (instanceId === 0n) throw StatorError.invalid('router_instance_id', 'The replica is not named.');
    if (this.#peer !== undefined && this.#peer !== instanceId)
      throw StatorError.invalid('router_instance_id', 'A stream has one replica at each end.');
    if (this.#peer !== undefined) return;
    this.#peer = instanceId;
    this.#options.onPeer(this, instanceId);
    if (!this.#ended) this.#resync('connected');
  }

  #receiveSnapshot(message: SyncPeersRequest): void {
    if (message.snapshotBegins) {
      this.#asking = false;
      this.#applied = message.sequenceNumber;
      this.#options.onSnapshotBegins(this);
    } else if (this.#applied !== message.sequenceNumber) {
      this.#gap();
      return;
    }
    if (this.#asking) return;
    this.#options.onChanges(this, message);
    if (message.snapshotEnds) this.#options.onSnapshotEnds(this);
  }

  #receiveChanges(message: SyncPeersRequest): void {
    const { sequenceNumber } = message;
    if (this.#asking || this.#applied === undefined || sequenceNumber <= this.#applied) return;
    if (sequenceNumber > this.#applied + 1n || isEmpty(message)) {
      this.#gap();
      return;
    }
    this.#applied = sequenceNumber;
    this.#options.onChanges(this, message);
  }

  #gap(): void {
    if (this.#asking || this.#applied === undefined) return;
    this.#options.metrics.gaps.inc();
    this.#asking = true;
    this.#signal();
  }

  #acknowledge(number: bigint): void {
    if (this.#probe === undefined || number < this.#probe.number) return;
    this.#lagMs = this.#options.nowMs() - this.#probe.sinceMs;
    this.#probe = undefined;
  }

  #resync(because: ResyncReason): void {
    if (this.#needsSnapshot) return;
    this.#needsSnapshot = true;
    this.#options.metrics.resyncs.inc({ because });
    this.#clearQueue();
    this.#snapshot = undefined;
    this.#transport?.ready();
  }

  #clearQueue(): void {
    this.#queue = [];
    this.#queuedBytes = 0;
  }

  #signal(): void {
    this.#signDue = true;
    this.#transport?.ready();
  }

  /** Says what was applied, if that was not said along with something else. */
  acknowledgeNow(): void {
    if (!this.#ended && (this.#applied ?? 0n) > this.#acknowledged) this.#signal();
  }
}

function isEmpty({ placed, prefillDone, finished, sessions }: SyncPeersRequest): boolean {
  return placed.length + prefillDone.length + finished.length + sessions.length === 0;
}
