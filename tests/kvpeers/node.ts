import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { create } from '@bufbuild/protobuf';
import type { Client } from '@connectrpc/connect';
import type { Registry } from 'prom-client';
import { BlockManager } from '#core/blocks/block-manager.ts';
import type { BlockChain } from '#core/blocks/chain.ts';
import { lru } from '#core/blocks/eviction/lru.ts';
import { peerSource } from '#core/blocks/onboarding/plan.ts';
import { tiers } from '#core/blocks/tiers.ts';
import { InstanceSchema, ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { KvPeerService } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { defaultSettings } from '#lib/config/settings.ts';
import { MemoryDiscovery, type MemoryHub } from '#lib/discovery/memory.ts';
import { createRpcClient, type RpcClient } from '#lib/rpc/client.ts';
import { type RpcServer, startRpcServer } from '#lib/rpc/server.ts';
import { newInstanceId } from '#lib/service/parts.ts';
import { BulkMemory } from '#lib/sharedmem/bulk-memory.ts';
import { openSharedMemory, type SharedMemory } from '#lib/sharedmem/shared-memory.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { transferMetrics } from '#lib/transfer/metrics.ts';
import type { TransferAgent, TransferBackend } from '#lib/transfer/transfer.ts';
import { hostMemory } from '#native/hostmem/index.ts';
import { xxh3 } from '#native/tokens/index.ts';
import { HostTier } from '#services/kvbm/host-tier.ts';
import { describeLayout, type Layout } from '#services/kvbm/layout.ts';
import { NamespaceBook, namespaceNumber, saltDigest } from '#services/kvbm/namespace-book.ts';
import { startTransferAgents } from '#services/kvbm/peers/agents.ts';
import { openPeers, type Peers } from '#services/kvbm/peers/open.ts';
import { type PeerConfig, peerSettings } from '#services/kvbm/peers/settings.ts';
import { Slab } from '#services/kvbm/slab.ts';
import { shapeWithin } from '#services/kvbm/slab-shape.ts';
import type { BlockSource, LoadRequest, TierParts } from '#services/kvbm/tiers.ts';

export const spec = { format: 'test-1', blockBytes: 10_000, blockTokens: 16, dtype: 'f16' };

export interface NodeOverrides {
  readonly config?: Partial<PeerConfig & { readonly findTimeoutMs: number }>;
  readonly backend?: TransferBackend;
  readonly slots?: number;
  readonly layout?: typeof spec;
  readonly disk?: (node: TestNode) => BlockSource;
}

/** The host memory of one node and its exchange with others, without the rest of a block manager. */
export class TestNode {
  readonly manager = new BlockManager({});
  readonly telemetry = quietTelemetry();
  readonly layout: Layout;
  readonly parts: TierParts;
  readonly slab: Slab;
  readonly agents: readonly TransferAgent[];
  /** Where its agents count. */
  readonly transfers: Registry;
  readonly instanceId = newInstanceId();
  readonly peers: Peers;
  readonly #memory: SharedMemory;
  readonly #writer: number;
  readonly #discovery: MemoryDiscovery;
  #server: RpcServer | undefined;
  #client: RpcClient<typeof KvPeerService> | undefined;

  private constructor(
    hub: MemoryHub,
    memory: SharedMemory,
    agents: TransferAgent[],
    transfers: Registry,
    overrides: NodeOverrides,
  ) {
    this.transfers = transfers;
    const shape = shapeWithin(overrides.layout ?? spec, memory.buffer.length);
    if (shape === undefined) throw new Error('the slab is too small');
    this.layout = describeLayout(shape.layout, 0);
    this.#memory = memory;
    this.agents = agents;
    this.slab = new Slab(memory.path, shape, memory, xxh3);
    const namespaces = new NamespaceBook({ files: [], maxNamespaces: 100, log: this.telemetry.log });
    const bulk = new BulkMemory(hostMemory());
    const { manager } = this;
    const host = new HostTier({
      ...{ manager, namespaces, epoch: 1, onRegistered: () => {}, onUnsound: () => {} },
      checksums: (buffer, ranges) => bulk.checksums(buffer, ranges),
    });
    const { generations } = this.slab;
    const arena = { blockBytes: this.layout.blockBytes, blocks: shape.slots, eviction: lru, epoch: 1 };
    manager.addLayout([{ ...arena, generations }, arena]);
    host.add(this.layout, this.slab, []);
    this.#writer = manager.attach();
    const { log, metrics } = this.telemetry;
    const stopping = new AbortController().signal;
    this.parts = {
      manager,
      host,
      namespaces,
      hash64: xxh3,
      epoch: 1,
      metrics,
      log,
      nowMs: () => performance.now(),
      stopping,
    };
    this.#discovery = new MemoryDiscovery(hub, { namespace: 'test', telemetry: this.telemetry });
    const disk = overrides.disk?.(this);
    this.peers = openPeers({
      ...{ parts: this.parts, telemetry: this.telemetry, agents, bulk, instanceId: this.instanceId, disk: () => disk },
      config: { ...defaultSettings(peerSettings), findTimeoutMs: 10_000, peerSummaryMs: 50, ...overrides.config },
      discovery: this.#discovery,
      target: ({ address }) => ({ address }),
    });
  }

  static async start(hub: MemoryHub, overrides: NodeOverrides = {}): Promise<TestNode> {
    const shape = shapeWithin(overrides.layout ?? spec, 2 ** 30);
    const bytes = 64 * 4096 + (overrides.slots ?? 64) * (shape?.slotBytes ?? 0);
    const path = `/dev/shm/stator-test-${randomBytes(6).toString('hex')}`;
    const memory = await openSharedMemory({ path, bytes, create: true }, hostMemory());
    rmSync(path);
    const { log, metrics: registry } = quietTelemetry();
    const metrics = transferMetrics(registry);
    const name = randomBytes(6).toString('hex');
    const agents = await startTransferAgents({
      name,
      only: overrides.backend ?? 'tcp',
      nixlLibrary: undefined,
      log,
      metrics,
    });
    const node = new TestNode(hub, memory, agents, registry, overrides);
    await node.#listen();
    return node;
  }

  async #listen(): Promise<void> {
    const { telemetry, peers } = this;
    this.#server = await startRpcServer({
      listen: '127.0.0.1:0',
      services: [KvPeerService],
      routes: (router) => void router.service(KvPeerService, peers.service),
      telemetry,
    });
    const { address } = this.#server;
    await this.#discovery.register(
      create(InstanceSchema, { instanceId: this.instanceId, kind: ServiceKind.KVBM, address }),
    );
  }

  /** The blocks of a prompt. Its namespace is known afterwards. */
  chain(prompt: string, count: number, salt = ''): BlockChain {
    const facts = { model: 'm', modelDigest: 'ab'.repeat(32), adapterDigest: '', rank: 0, ranks: 1 };
    const known = this.parts.namespaces.open({
      ...facts,
      saltDigest: saltDigest(salt),
      layout: this.layout.fingerprint,
    });
    const indexes = Array.from({ length: count }, (_, at) => at);
    const words = indexes.flatMap((at) => [0, 1].map((half) => xxh3(Buffer.from(`${salt}/${prompt}:${at}.${half}`))));
    return {
      namespace: namespaceNumber(this.manager, known, this.layout),
      startBlock: 0,
      parent: null,
      digests: new Uint32Array(BigUint64Array.from(words).buffer),
      sequenceHashes: BigUint64Array.from(indexes, (at) => xxh3(Buffer.from(`${prompt}#${at}`))),
    };
  }

  /** Writes blocks of a prompt as a worker does. Sizes differ. */
  store(chain: BlockChain): void {
    const reservation = this.parts.host.reserve(this.#writer, chain, 0);
    const checksums: number[] = [];
    const sizes: number[] = [];
    for (const [at, slot] of reservation.slots.entries()) {
      const bytes = contentOf(chain, reservation.blocks[at] ?? 0, this.layout.blockBytes);
      this.slab.payload(slot).set(bytes);
      const sum = xxh3(bytes);
      checksums.push(Number(sum & 0xffff_ffffn), Number(sum >> 32n));
      sizes.push(bytes.length);
    }
    const commit = { ...reservation, checksums: Uint32Array.from(checksums), sizes: Uint32Array.from(sizes) };
    this.parts.host.commit(this.#writer, commit);
  }

  /** Says that blocks are on disk. */
  storeOnDisk(chain: BlockChain): void {
    const reservation = this.manager.reserve(this.#writer, tiers.disk, chain);
    this.manager.commit(this.#writer, { ...reservation, checksums: new Uint32Array(2 * reservation.slots.length) });
  }

  get address(): string {
    return this.#server?.address ?? '';
  }

  /** What another node asks, without going through its source. */
  get client(): Client<typeof KvPeerService> {
    this.#client ??= createRpcClient(KvPeerService, { address: this.address }, this.telemetry);
    return this.#client.client;
  }

  /** Whether every one of these blocks is here with the right bytes. */
  has(chain: BlockChain, count = chain.sequenceHashes.length): boolean {
    for (let at = 0; at < count; at++) {
      const slot = this.slotOf(chain, at);
      const expected = contentOf(chain, at, this.layout.blockBytes);
      if (slot < 0 || !this.slab.payload(slot).subarray(0, expected.length).equals(expected)) return false;
    }
    return true;
  }

  slotOf(chain: BlockChain, at: number): number {
    return this.manager.slotOf(tiers.host, chain.namespace, chain.digests, at);
  }

  /** What Onboard does: asks where, then loads. Resolves with blocks found and loaded. */
  async onboard(chain: BlockChain, overrides: Partial<LoadRequest> = {}): Promise<{ found: number; loaded: number }> {
    const { source } = this.peers;
    if (source.source !== peerSource) throw new Error('the source is another one');
    const signal = overrides.signal ?? new AbortController().signal;
    const found = await source.find(chain, this.layout, 0, signal);
    if (found === 0) return { found, loaded: 0 };
    const told: number[] = [];
    const loaded = await source.load({
      ...{ chain, layout: this.layout, from: 0, count: found, priority: 0, signal },
      deadlineMs: performance.now() + 20_000,
      loaded: (from, count) => void told.push(from, count),
      ...overrides,
    });
    if (loaded > 0 && told.join() !== `0,${loaded}`) throw new Error(`told ${told}, not 0,${loaded}`);
    return { found, loaded };
  }

  /** Whether nobody holds anything that ends with a request. */
  async isIdle(): Promise<boolean> {
    const use = this.manager.use().find(({ tier }) => tier === tiers.host);
    const gauge = await this.telemetry.metrics.getSingleMetricAsString('stator_kvbm_peer_stages');
    const bytes = await this.telemetry.metrics.getSingleMetricAsString('stator_kvbm_peer_staged_bytes');
    const transfers = this.agents.every((agent) => agent.counters().running === 0 && agent.counters().serving === 0);
    const empty = /^stator\S* 0$/m.test(gauge) && /^stator\S* 0$/m.test(bytes);
    return (
      transfers && empty && this.manager.leases === 0 && use?.partial === 0 && use.revoked === 0 && use.doomed === 0
    );
  }

  async counter(name: string): Promise<string> {
    return (await this.telemetry.metrics.getSingleMetricAsString(`stator_kvbm_peer_${name}`))
      .split('\n')
      .filter((line) => !line.startsWith('#'))
      .join('\n');
  }

  /** Ends the server and its agents as a death does: nothing is withdrawn from discovery. */
  async kill(): Promise<void> {
    await this.#server?.stop(0);
    for (const agent of this.agents) await agent.close();
  }

  async close(): Promise<void> {
    this.#client?.close();
    await this.peers.stop();
    await this.#discovery.close();
    await this.#server?.stop(0);
    await this.#memory.close();
  }
}

/** Bytes of a block: a function of its digest, of different lengths. */
function contentOf({ digests }: BlockChain, at: number, blockBytes: number): Buffer {
  const digest = digests.slice(4 * at, 4 * at + 4);
  return Buffer.alloc(blockBytes - ((digest[0] ?? 0) % 1000), Buffer.from(digest.buffer));
}
