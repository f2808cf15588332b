import { create } from '@bufbuild/protobuf';
import { type Instance, InstanceSchema } from '#gen/stator/discovery/v1/discovery_pb.ts';
import type { Reannounce, SessionBinding, SyncPeersRequest } from '#gen/stator/router/v1/router_pb.ts';
import type { DownReason, InstanceListener, Watch } from '#lib/discovery/discovery.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import type { OpenStream } from './dialer.ts';
import type { PeerLink } from './link.ts';
import { type PeerMetrics, peerMetrics } from './metrics.ts';
import { PeerSync, type PeerSyncConfig } from './peer-sync.ts';
import { reservationKey } from './ports.ts';
import { StrictAccounts } from './strict-accounts.test-support.ts';
import { SimulatedClock, type World } from './virtual-time.test-support.ts';

type Cut = boolean | 'for good';

/** One direction of a connection: messages arrive in order, each after a delay, only some on their way at once. */
class Pipe {
  readonly #network: Network;
  readonly #from: PeerLink;
  readonly #to: PeerLink;
  readonly #isCut: () => Cut;
  readonly #window: number;
  readonly #arriving: { readonly message: SyncPeersRequest; readonly isLost: boolean }[] = [];
  #lastMs = 0;
  #pumping = false;

  constructor(network: Network, from: PeerLink, to: PeerLink, isCut: () => Cut) {
    this.#network = network;
    this.#from = from;
    this.#to = to;
    this.#isCut = isCut;
    this.#window = 1 + network.world.below(8);
  }

  pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    this.#network.world.after(0, () => {
      this.#pumping = false;
      while (this.#arriving.length < this.#window) {
        const message = this.#from.next();
        if (message === undefined) return;
        this.#send(message);
      }
    });
  }

  #send(message: SyncPeersRequest): void {
    const { world, lossProbability } = this.#network;
    this.#lastMs = Math.max(this.#lastMs, world.nowMs + this.#network.delayMs());
    this.#arriving.push({ message, isLost: !message.snapshot && world.chance(lossProbability) });
    world.after(this.#lastMs - world.nowMs, () => this.#arrive());
  }

  #arrive(): void {
    if (this.#to.ended) return;
    const cut = this.#isCut();
    if (cut === 'for good') return;
    if (cut) {
      // Transport keeps trying.
      this.#network.world.after(50, () => this.#arrive());
      return;
    }
    const arrived = this.#arriving.shift();
    if (arrived === undefined) return;
    if (!arrived.isLost) {
      try {
        this.#to.receive(received(arrived.message));
      } catch (thrown) {
        this.#to.end('failed', StatorError.from(thrown));
      }
    }
    this.pump();
  }
}

/** As the receiver has it: of nobody else. */
function received(message: SyncPeersRequest): SyncPeersRequest {
  const placed = message.placed.map((reservation) => {
    const { route } = reservation;
    return { ...reservation, ...(route === undefined ? {} : { route: { ...route } }) };
  });
  return { ...message, placed };
}

interface Connection {
  readonly nodes: readonly [SimulatedReplica, SimulatedReplica];
  break(): void;
  /** Nothing arrives any more, and nobody is told. */
  freeze(): void;
}

/** Connects replicas by address, with delays, partitions, broken streams and lost messages. */
export class Network {
  readonly world: World;
  readonly replicas: SimulatedReplica[] = [];
  lossProbability = 0;
  maxDelayMs = 20;
  /** Pairs of names that cannot reach each other. */
  readonly cuts = new Set<string>();
  readonly connections = new Set<Connection>();

  constructor(world: World) {
    this.world = world;
  }

  delayMs(): number {
    return 1 + this.world.below(this.maxDelayMs);
  }

  isCut(a: string, b: string): boolean {
    return this.cuts.has(pairOf(a, b));
  }

  cut(a: string, b: string): void {
    this.cuts.add(pairOf(a, b));
  }

  open(from: SimulatedReplica): OpenStream {
    return ({ address }, link) => {
      this.world.after(this.delayMs(), () => this.#connect(from, address, link));
    };
  }

  #connect(from: SimulatedReplica, address: string, link: PeerLink): void {
    const to = this.replicas.find((replica) => replica.name === address && replica.alive);
    if (link.ended || !from.alive) return;
    if (to === undefined || this.isCut(from.name, address)) {
      link.end('failed', new StatorError('worker_unavailable', 'not reached'));
      return;
    }
    const other = to.sync.accept();
    let frozen = false;
    const isCut = (): Cut => (frozen ? 'for good' : this.isCut(from.name, to.name));
    const up = new Pipe(this, link, other, isCut);
    const down = new Pipe(this, other, link, isCut);
    const endLater = (end: PeerLink): void => {
      this.world.after(this.delayMs(), () => {
        if (frozen) return;
        if (isCut() !== false) endLater(end);
        else end.end('failed', new StatorError('stream_incomplete', 'broken'));
      });
    };
    const connection: Connection = {
      nodes: [from, to],
      break: () => {
        endLater(link);
        endLater(other);
      },
      freeze: () => {
        frozen = true;
      },
    };
    this.connections.add(connection);
    const closed = (end: PeerLink): void => {
      this.connections.delete(connection);
      endLater(end);
    };
    link.attach({ ready: () => up.pump(), close: () => closed(other) });
    other.attach({ ready: () => down.pump(), close: () => closed(link) });
    up.pump();
    down.pump();
  }
}

function pairOf(a: string, b: string): string {
  return a < b ? `${a} ${b}` : `${b} ${a}`;
}

/** A discovery whose word reaches each replica when the test says. */
class SimulatedDiscovery {
  #listener: Partial<InstanceListener> = {};
  readonly #known = new Map<bigint, Instance>();

  watch(_kind: unknown, listener: Partial<InstanceListener> = {}): Watch {
    this.#listener = listener;
    return { synced: Promise.resolve(), instances: () => this.#known, close: () => {} };
  }

  up(instance: Instance): void {
    if (this.#known.has(instance.instanceId)) return;
    this.#known.set(instance.instanceId, instance);
    this.#listener.onUp?.(instance);
  }

  down(instanceId: bigint, reason: DownReason): void {
    const instance = this.#known.get(instanceId);
    if (instance === undefined) return;
    this.#known.delete(instanceId);
    this.#listener.onDown?.(instance, reason);
  }
}

/** A replica of the router as far as its accounts go, with what tells others of them. */
export class SimulatedReplica {
  /** Its address too; a restarted one has the same. */
  readonly name: string;
  readonly instance: Instance;
  readonly accounts = new StrictAccounts();
  readonly discovery = new SimulatedDiscovery();
  readonly clock: SimulatedClock;
  readonly metrics: PeerMetrics;
  readonly sync: PeerSync;
  readonly bindings = new Map<string, SessionBinding>();
  alive = true;

  constructor(
    network: Network,
    o: { name: string; instanceId: bigint; workers: Iterable<bigint>; config: PeerSyncConfig },
  ) {
    this.name = o.name;
    this.instance = create(InstanceSchema, { instanceId: o.instanceId, address: o.name });
    for (const worker of o.workers) this.accounts.workers.add(worker);
    this.clock = new SimulatedClock(network.world);
    const telemetry = quietTelemetry();
    this.metrics = peerMetrics(telemetry.metrics);
    this.sync = new PeerSync({
      instanceId: o.instanceId,
      config: o.config,
      discovery: this.discovery,
      accounts: this.accounts,
      sessions: {
        bindings: () => this.bindings.values(),
        advise: (bindings) => {
          for (const binding of bindings) this.bindings.set(binding.sessionId, binding);
        },
      },
      metrics: this.metrics,
      log: telemetry.log,
      clock: this.clock,
      random: network.world.random,
      openStream: network.open(this),
    });
    network.replicas.push(this);
    this.sync.start();
  }

  get id(): bigint {
    return this.instance.instanceId;
  }

  place(owner: string, gatewayId: string, reservation: Reannounce): void {
    const requestId = reservation.route?.requestId ?? '';
    if (!this.accounts.workers.has(reservation.instanceId)) return;
    if (this.accounts.describe(owner, requestId) !== undefined) return;
    this.accounts.place(owner, requestId, reservationKey(gatewayId, requestId), reservation);
    this.sync.placed(owner, gatewayId, requestId);
  }

  prefillDone(owner: string, requestId: string): void {
    if (this.accounts.describe(owner, requestId) === undefined) return;
    this.accounts.prefillDone(owner, requestId);
    this.sync.prefillDone(owner, requestId);
  }

  finish(owner: string, requestId: string): void {
    if (this.accounts.finishIfThere(owner, requestId)) this.sync.finished(owner, requestId);
  }

  endOwner(owner: string): void {
    if (!this.alive) return;
    this.accounts.endOwner(owner);
    this.sync.ownerEnded(owner);
  }

  workerGone(worker: bigint): void {
    this.accounts.workers.delete(worker);
    this.accounts.endWorker(worker);
    this.sync.workerGone(worker);
  }

  workerUp(worker: bigint): void {
    this.accounts.workers.add(worker);
    this.sync.workerUp(worker);
  }

  /** The process is killed: nothing of it runs any more. */
  kill(): void {
    this.alive = false;
    this.clock.stop();
  }
}
