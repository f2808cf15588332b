import { create } from '@bufbuild/protobuf';
import { type Instance, InstanceSchema, ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import {
  type Reannounce,
  ReannounceSchema,
  RouterService,
  type SessionBinding,
} from '#gen/stator/router/v1/router_pb.ts';
import type { Registration } from '#lib/discovery/discovery.ts';
import { MemoryDiscovery, MemoryHub } from '#lib/discovery/memory.ts';
import { type RpcServer, startRpcServer } from '#lib/rpc/server.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { syncPeers } from '#services/router/handlers/sync-peers.ts';
import { grpcStreams } from '#services/router/peers/grpc.ts';
import { peerMetrics } from '#services/router/peers/metrics.ts';
import { PeerSync, type PeerSyncConfig } from '#services/router/peers/peer-sync.ts';
import { reservationKey, systemClock } from '#services/router/peers/ports.ts';
import { StrictAccounts } from '#services/router/peers/strict-accounts.test-support.ts';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';

export const worker = 7n;

const quick: PeerSyncConfig = {
  peers: [],
  peerBatchMs: 2,
  peerHoldSeconds: 60,
  peerHeartbeatMs: 50,
  peerBufferMib: 16,
  peerMaxReservations: 100_000,
  maxPeers: 8,
};

/** The exchange of one replica behind a real port, with accounts that notice every fault and a discovery of its own. */
export class Replica {
  readonly id: bigint;
  readonly accounts = new StrictAccounts();
  readonly bindings: SessionBinding[] = [];
  readonly telemetry = quietTelemetry();
  readonly metrics = peerMetrics(this.telemetry.metrics);
  readonly discovery = new MemoryDiscovery(new MemoryHub(), { namespace: 'test', telemetry: this.telemetry });
  readonly #config: PeerSyncConfig;
  #sync: PeerSync | undefined;
  #server: RpcServer | undefined;

  constructor(id: bigint, config: Partial<PeerSyncConfig> = {}) {
    this.id = id;
    this.#config = { ...quick, ...config };
    this.accounts.workers.add(worker);
  }

  get sync(): PeerSync {
    if (this.#sync === undefined) throw new Error('not started');
    return this.#sync;
  }

  get port(): number {
    return this.#server?.port ?? 0;
  }

  async start(peers: readonly string[] = []): Promise<void> {
    const sync = new PeerSync({
      instanceId: this.id,
      config: { ...this.#config, peers },
      discovery: this.discovery,
      accounts: this.accounts,
      sessions: { bindings: () => this.bindings, advise: (bindings) => void this.bindings.push(...bindings) },
      metrics: this.metrics,
      log: this.telemetry.log,
      clock: systemClock,
      random: Math.random,
      openStream: grpcStreams(({ address }) => ({ address }), this.telemetry),
    });
    this.#sync = sync;
    this.#server = await startRpcServer({
      listen: '127.0.0.1:0',
      services: [RouterService],
      routes: (router) => router.service(RouterService, syncPeers({ peers: sync })),
      telemetry: this.telemetry,
    });
    sync.start();
  }

  /** Discovery tells this replica of another at an address. */
  tell(other: Replica, address: string): Promise<Registration> {
    return this.discovery.register(instanceAt(other.id, address));
  }

  place(gatewayId: string, requestId: string, blocks = 8): void {
    const owner = `session of ${gatewayId}`;
    const reservation = reservationOf(gatewayId, requestId, blocks);
    this.accounts.place(owner, requestId, reservationKey(reservation.gatewayId, requestId), reservation);
    this.sync.placed(owner, gatewayId, requestId);
  }

  prefillDone(gatewayId: string, requestId: string): void {
    this.accounts.prefillDone(`session of ${gatewayId}`, requestId);
    this.sync.prefillDone(`session of ${gatewayId}`, requestId);
  }

  finish(gatewayId: string, requestId: string): void {
    this.accounts.finish(`session of ${gatewayId}`, requestId);
    this.sync.finished(`session of ${gatewayId}`, requestId);
  }

  endOwner(gatewayId: string): void {
    this.accounts.endOwner(`session of ${gatewayId}`);
    this.sync.ownerEnded(`session of ${gatewayId}`);
  }

  /** What it counts, as text that can be compared. */
  counts(): string[] {
    return this.accounts
      .entries()
      .map(({ key, reservation }) => `${key.replace('\0', ' ')}${reservation.prefillDone ? ' done' : ''}`)
      .sort();
  }

  async metric(name: string, labels: Record<string, string> = {}): Promise<number> {
    const metric = await this.telemetry.metrics.getSingleMetric(name)?.get();
    const matching = (metric?.values ?? []).filter((value) =>
      Object.entries(labels).every(([label, wanted]) => value.labels[label] === wanted),
    );
    return matching.reduce((sum, { value }) => sum + value, 0);
  }

  async stop(): Promise<void> {
    await this.#sync?.close();
    await this.#server?.stop(1000);
    await this.discovery.close();
  }

  /** Its connections are reset and its port is closed, without a word. */
  async kill(): Promise<void> {
    await this.#server?.stop(0);
  }
}

export function instanceAt(instanceId: bigint, address: string): Instance {
  return create(InstanceSchema, { instanceId, kind: ServiceKind.ROUTER, address });
}

export function reservationOf(gatewayId: string, requestId: string, blocks = 8): Reannounce {
  const sequenceHashes = new Uint8Array(8 * blocks).fill(requestId.length);
  const route = { requestId, model: 'm', promptTokens: 16 * blocks, kvBlockSize: 16, sequenceHashes };
  return create(ReannounceSchema, { route, instanceId: worker, gatewayId });
}

/** Replicas that reach each other by relays, one for each direction of each pair, that tests can cut and freeze. */
export class Mesh {
  readonly replicas: readonly Replica[];
  readonly #relays: { readonly from: Replica; readonly to: Replica; readonly relay: TcpProxy }[] = [];

  constructor(replicas: readonly Replica[]) {
    this.replicas = replicas;
  }

  async start(): Promise<void> {
    for (const replica of this.replicas) await replica.start();
    for (const from of this.replicas)
      for (const to of this.replicas) {
        if (from === to) continue;
        const relay = await startTcpProxy(to.port);
        this.#relays.push({ from, to, relay });
        await from.tell(to, `127.0.0.1:${relay.port}`);
      }
  }

  /** The relays between a replica and the others. */
  around(replica: Replica): TcpProxy[] {
    return this.#relays.filter(({ from, to }) => from === replica || to === replica).map(({ relay }) => relay);
  }

  async stop(): Promise<void> {
    await Promise.all(this.replicas.map((replica) => replica.stop()));
    await Promise.all(this.#relays.map(({ relay }) => relay.close()));
  }
}
