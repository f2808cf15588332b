import { create } from '@bufbuild/protobuf';
import { ReannounceSchema } from '#gen/stator/router/v1/router_pb.ts';
import type { PeerSyncConfig } from './peer-sync.ts';
import { reservationKey } from './ports.ts';
import { Network, SimulatedReplica } from './simulation.test-support.ts';
import { World } from './virtual-time.test-support.ts';

interface Request {
  readonly requestId: string;
  worker: bigint;
  prefillDone: boolean;
  outputTokens: number;
}

interface Gateway {
  readonly id: string;
  replica: SimulatedReplica;
  owner: string;
  readonly requests: Map<string, Request>;
}

export interface ScenarioOptions {
  readonly seed: number;
  readonly replicas: number;
  readonly config?: Partial<PeerSyncConfig>;
}

const workers = [101n, 102n, 103n];

const quick: PeerSyncConfig = {
  peers: [],
  peerBatchMs: 2,
  peerHoldSeconds: 2,
  peerHeartbeatMs: 200,
  // A thousand bytes: replicas are slow now and then.
  peerBufferMib: 1000 / 2 ** 20,
  peerMaxReservations: 100_000,
  maxPeers: 8,
};

/** Replicas, gateways and faults, all drawn from one seed. */
export class Scenario {
  readonly world: World;
  readonly network: Network;
  readonly #gateways: Gateway[] = [];
  readonly #config: PeerSyncConfig;
  readonly #static: boolean;
  /** Whether gateways number their claims. */
  readonly #numbered: boolean;
  #lastClaim = 0n;
  #lastInstance = 0n;
  #lastOwner = 0;
  #lastRequest = 0;

  constructor({ seed, replicas, config }: ScenarioOptions) {
    this.world = new World(seed);
    this.network = new Network(this.world);
    this.network.lossProbability = this.world.chance(0.5) ? 0.02 : 0;
    this.network.maxDelayMs = this.world.pick([1, 20, 300]);
    this.#static = this.world.chance(0.3);
    this.#numbered = this.world.chance(0.5);
    const names = Array.from({ length: replicas }, (_, index) => `replica-${index}:1`);
    this.#config = { ...quick, ...config, ...(this.#static ? { peers: names } : {}) };
    this.world.check = () => this.#checkNothingCountsTwice();
    for (const name of names) this.#boot(name);
    for (let index = 0; index < 3; index++) {
      const replica = this.world.pick(this.#alive());
      this.#gateways.push({ id: `gateway-${index}`, replica, owner: this.#newOwner(), requests: new Map() });
    }
  }

  /** Random work and random faults for some time. */
  disturb(steps: number): void {
    for (let step = 0; step < steps; step++) {
      this.world.runUntil(this.world.nowMs + this.world.below(60));
      if (this.world.chance(0.75)) this.#work();
      else this.#fault();
    }
  }

  /** Ends every fault and waits until all that was on its way has arrived. */
  heal(): void {
    this.network.cuts.clear();
    this.network.lossProbability = 0;
    for (const replica of this.#alive()) {
      for (const worker of workers) if (!replica.accounts.workers.has(worker)) replica.workerUp(worker);
      for (const other of this.#alive()) if (other !== replica) this.#tellUp(replica, other);
    }
    this.world.runUntil(this.world.nowMs + 20_000);
  }

  finishAll(): void {
    for (const gateway of this.#gateways)
      for (const requestId of [...gateway.requests.keys()]) this.#finish(gateway, requestId);
    this.world.runUntil(this.world.nowMs + 5000);
  }

  /** What every replica should count: each reservation that its gateway's router has, once. */
  truth(): string[] {
    return this.#gateways
      .flatMap(({ id, owner, replica, requests }) =>
        [...requests.keys()].flatMap((requestId) => {
          const held = replica.accounts.describe(owner, requestId);
          return held === undefined ? [] : [line(reservationKey(id, requestId), held.instanceId, held.prefillDone)];
        }),
      )
      .sort();
  }

  /** What each replica counts. */
  views(): string[][] {
    return this.#alive().map(({ accounts }) =>
      accounts
        .entries()
        .map(({ key, reservation }) => line(key, reservation.instanceId, reservation.prefillDone))
        .sort(),
    );
  }

  /** Open streams between replicas that run. */
  streams(): number {
    return [...this.network.connections].filter(({ nodes }) => nodes.every(({ alive }) => alive)).length;
  }

  replicas(): readonly SimulatedReplica[] {
    return this.#alive();
  }

  #work(): void {
    const gateway = this.world.pick(this.#gateways);
    const { replica, owner, requests } = gateway;
    const request = requests.size === 0 ? undefined : this.world.pick([...requests.values()]);
    const kind = this.world.below(10);
    if (request === undefined || kind < 4) this.#route(gateway, `request-${++this.#lastRequest}`);
    else if (kind < 6) {
      request.prefillDone = true;
      replica.prefillDone(owner, request.requestId);
    } else if (kind < 9) this.#finish(gateway, request.requestId);
    else {
      // Migrated: the same request runs again elsewhere.
      this.#finish(gateway, request.requestId);
      this.#route(gateway, request.requestId);
    }
  }

  #route(gateway: Gateway, requestId: string): void {
    const request: Request = { requestId, worker: this.world.pick(workers), prefillDone: false, outputTokens: 0 };
    gateway.requests.set(requestId, request);
    this.#announce(gateway, request);
  }

  #announce({ id, replica, owner }: Gateway, { requestId, worker, prefillDone, outputTokens }: Request): void {
    const claimNumber = this.#numbered ? ++this.#lastClaim : 0n;
    const route = { requestId, model: 'm', promptTokens: 100, claimNumber };
    replica.place(
      owner,
      id,
      create(ReannounceSchema, { route, instanceId: worker, prefillDone, outputTokens, gatewayId: id }),
    );
  }

  #finish({ replica, owner, requests }: Gateway, requestId: string): void {
    requests.delete(requestId);
    replica.finish(owner, requestId);
  }

  /** The gateway's session breaks. Its router may notice much later, when the gateway is elsewhere for long. */
  #move(gateway: Gateway, to: SimulatedReplica): void {
    const { replica: from, owner } = gateway;
    this.world.after(this.world.pick([0, 0, 5, 500, 5000]), () => from.endOwner(owner));
    gateway.replica = to;
    gateway.owner = this.#newOwner();
    for (const request of gateway.requests.values()) this.#announce(gateway, request);
  }

  #fault(): void {
    const alive = this.#alive();
    const replica = this.world.pick(alive);
    const other = this.world.pick(alive);
    switch (this.world.below(10)) {
      case 0:
        this.network.cut(replica.name, other.name);
        break;
      case 1:
        this.network.cuts.clear();
        break;
      case 2:
        for (const connection of this.network.connections) if (this.world.chance(0.5)) connection.break();
        break;
      case 3:
      case 4:
        this.#move(this.world.pick(this.#gateways), other);
        break;
      case 5:
        replica.clock.jump(this.world.pick([10, 1000, 3_600_000]));
        break;
      case 6:
        if (this.world.chance(0.3)) this.#restart(replica);
        break;
      case 7:
        for (const connection of this.network.connections) if (this.world.chance(0.3)) connection.freeze();
        break;
      case 8:
        if (!this.#static) replica.discovery.down(other.id, this.world.pick(['expired', 'stale', 'withdrawn']));
        break;
      default: {
        const worker = this.world.pick(workers);
        if (replica.accounts.workers.has(worker)) replica.workerGone(worker);
        else replica.workerUp(worker);
      }
    }
  }

  #restart(replica: SimulatedReplica): void {
    replica.kill();
    for (const connection of this.network.connections) if (connection.nodes.includes(replica)) connection.break();
    if (!this.#static)
      for (const observer of this.#alive())
        this.world.after(this.world.below(3000), () => observer.discovery.down(replica.id, 'expired'));
    const fresh = this.#boot(replica.name);
    for (const gateway of this.#gateways)
      if (gateway.replica === replica)
        this.#move(gateway, this.world.chance(0.5) ? fresh : this.world.pick(this.#alive()));
  }

  #boot(name: string): SimulatedReplica {
    // Identifiers are random in life: neither side is always the lower one.
    const instanceId = (BigInt(this.world.below(1000)) << 16n) | ++this.#lastInstance;
    const known = workers.filter(() => this.world.chance(0.7));
    const replica = new SimulatedReplica(this.network, { name, instanceId, workers: known, config: this.#config });
    for (const other of this.#alive()) {
      if (other === replica) continue;
      this.world.after(this.world.below(1000), () => this.#tellUp(replica, other));
      this.world.after(this.world.below(1000), () => this.#tellUp(other, replica));
    }
    return replica;
  }

  #tellUp(observer: SimulatedReplica, replica: SimulatedReplica): void {
    if (!this.#static && observer.alive && replica.alive) observer.discovery.up(replica.instance);
  }

  #alive(): SimulatedReplica[] {
    return this.network.replicas.filter(({ alive }) => alive);
  }

  #newOwner(): string {
    return `session-${++this.#lastOwner}`;
  }

  #checkNothingCountsTwice(): void {
    for (const { accounts, name, alive } of this.network.replicas)
      if (alive && accounts.doubled !== 0) throw new Error(`${name} counts a reservation twice`);
  }
}

function line(key: string, worker: bigint, prefillDone: boolean): string {
  return `${key.replace('\0', ' ')} on ${worker}${prefillDone ? ', prefill done' : ''}`;
}
