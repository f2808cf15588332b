import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { create } from '@bufbuild/protobuf';
import type { Client } from '@connectrpc/connect';
import { expect } from 'chai';
import { type Instance, InstanceSchema, InstanceState, ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import { RouterService as Contract } from '#gen/stator/router/v1/router_pb.ts';
import { defaultSettings } from '#lib/config/settings.ts';
import type { Discovery, Registration } from '#lib/discovery/discovery.ts';
import { openDiscovery } from '#lib/discovery/open.ts';
import { createRpcClient } from '#lib/rpc/client.ts';
import { startRpcServer } from '#lib/rpc/server.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { routerSettings } from '#services/router/config.ts';
import { type RouterService, startRouter } from '#services/router/service.ts';
import { parseMetrics, sumOf } from '../support/metrics-text.ts';
import { until } from '../support/until.ts';
import { RandomChoices } from './accounts/random.ts';
import { RandomLoad } from './accounts/random-load.ts';
import { BLOCK, MODEL } from './accounts/random-request.ts';
import { type Caller, RawSession } from './accounts/raw-session.ts';

const registered = [1n, 2n, 3n, 4n];
const added = [5n, 6n, 7n, 8n];
const policy = `
default_policy_family: chat
uncached_isl_buckets:
  - { min_tokens: 0, bucket: short }
  - { min_tokens: 300, bucket: long }
policy_classes:
  - { name: chat-short, policy_family: chat, cache_bucket: short, queue_policy: wspt, quantum: 2048, prefill_busy_threshold: 9000 }
  - { name: chat-long, policy_family: chat, cache_bucket: long, queue_policy: fcfs, quantum: 1024, prefill_busy_threshold: 6000 }
  - { name: batch, queue_policy: lcfs, quantum: 512, prefill_busy_threshold: 4000, request_queue_limit_per_worker: 4 }
`;

describe('accounts of the router', function () {
  this.timeout(300_000);
  const cleanups: (() => unknown)[] = [];
  let discovery: Discovery;
  let router: RouterService;
  let client: Client<typeof Contract>;
  let workerAddress: string;

  beforeEach(async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'stator-accounts-'));
    cleanups.push(() => rm(folder, { recursive: true }));
    const policyConfig = path.join(folder, 'policy.yaml');
    await writeFile(policyConfig, policy);
    const telemetry = quietTelemetry();
    const worker = await startRpcServer({
      listen: '127.0.0.1:0',
      services: [EngineService],
      routes: (routes) => void routes.service(EngineService, { getLoad: () => ({ load: {} }) }),
      telemetry,
    });
    cleanups.push(() => worker.stop(0));
    workerAddress = worker.address;
    discovery = await openDiscovery('memory:', { namespace: path.basename(folder), ttlSeconds: 60, telemetry });
    cleanups.push(() => discovery.close());
    const config = defaultSettings(routerSettings, { policyConfig, maxQueuedRequests: 150, shutdownGraceSeconds: 0 });
    const shutdown = new AbortController().signal;
    router = await startRouter(config, { telemetry, discovery, shutdown, instanceId: 99n });
    cleanups.push(() => router.stop());
    const calls = createRpcClient(Contract, { address: router.address }, telemetry);
    cleanups.push(calls.close);
    client = calls.client;
  });

  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  });

  it('are all zero after 100,000 random requests in the same process', async () => {
    await zeroAfter(new RandomChoices(1), 100_000, 1, () => router.client);
  });

  it('are all zero after 20,000 random requests over sessions, some of them cut', async () => {
    const open = (number: number) => new RawSession(client, `gateway-${number}`);
    await zeroAfter(new RandomChoices(2), 20_000, 6, open);
    expect(await totalOf('stator_router_reservations_freed_total', { because: 'gateway' })).to.be.greaterThan(0);
  });

  async function zeroAfter(
    random: RandomChoices,
    requests: number,
    callers: number,
    open: (number: number) => Caller,
  ): Promise<void> {
    const fleet = new Fleet(random);
    await fleet.start();
    const workers = [...registered, ...added];
    const load = new RandomLoad({ random, open, callers, workers, churn: () => fleet.churn(), churnEvery: 500 });
    await load.run(requests);
    await load.drain();
    await everythingIsZero('stator_router_(?!worker|added_workers|sessions|session_bindings|kv_)');
    load.close();
    await fleet.stop();
    // An empty index still has a table.
    await everythingIsZero('stator_router_(?!kv_(index|approximate)_bytes)');
    expectEveryOutcome(load.outcomes, requests);
    expect(await totalOf('stator_router_unknown_requests_total')).to.be.greaterThan(0);
    expect(await totalOf('stator_router_reservations_freed_total', { because: 'worker' })).to.be.greaterThan(0);
    expect(await totalOf('stator_router_queue_seconds_count')).to.be.greaterThan(requests / 100);
  }

  async function everythingIsZero(prefix: string): Promise<void> {
    let left: unknown;
    try {
      await until('every account is zero', async () => {
        left = [...(await loadsThatAreNot0()), ...(await gaugesThatAreNot0(prefix))];
        return (left as unknown[]).length === 0;
      });
    } catch {
      expect(left, 'left over').to.deep.equal([]);
    }
  }

  async function loadsThatAreNot0(): Promise<unknown[]> {
    const { loads, queuedRequests, queuedPromptTokens } = await client.getLoads({});
    const left: unknown[] = loads.filter(
      ({ activeRequests, activePrefillTokens, activeBlocks }) =>
        activeRequests !== 0 || activePrefillTokens !== 0n || activeBlocks !== 0n,
    );
    return queuedRequests === 0 && queuedPromptTokens === 0n ? left : [...left, { queuedRequests, queuedPromptTokens }];
  }

  async function gaugesThatAreNot0(prefix: string): Promise<unknown[]> {
    const text = await metricsText();
    const gauges = [...text.matchAll(/^# TYPE (\w+) gauge$/gm)].map(([, name = '']) => name);
    const names = gauges.filter((name) => new RegExp(`^${prefix}`).test(name) && !name.endsWith('_limit'));
    expect(names).to.include('stator_router_reservations');
    return parseMetrics(text).filter(({ name, value }) => names.includes(name) && value !== 0);
  }

  async function totalOf(name: string, labels: Record<string, string> = {}): Promise<number> {
    return sumOf(parseMetrics(await metricsText()), name, labels);
  }

  async function metricsText(): Promise<string> {
    return (await fetch(`http://${router.address}/metrics`)).text();
  }

  /** Workers of which some come and go, by discovery and by calls. */
  class Fleet {
    readonly #random: RandomChoices;
    readonly #registrations = new Map<bigint, Registration>();
    readonly #added = new Set<bigint>();

    constructor(random: RandomChoices) {
      this.#random = random;
    }

    async start(): Promise<void> {
      for (const instanceId of registered) await this.#register(instanceId);
      for (const instanceId of added) await this.#add(instanceId);
    }

    async churn(): Promise<void> {
      const instanceId = this.#random.pick([...registered.slice(1), ...added]);
      if (this.#added.delete(instanceId)) await client.removeWorker({ instanceId });
      else if (added.includes(instanceId)) await this.#add(instanceId);
      else if (!(await this.#withdraw(instanceId))) await this.#register(instanceId);
      if (this.#random.oneIn(10)) await this.#setThresholds();
    }

    async stop(): Promise<void> {
      for (const instanceId of this.#registrations.keys()) await this.#withdraw(instanceId);
      for (const instanceId of this.#added) await client.removeWorker({ instanceId });
      await until('no worker is known', async () => (await client.listWorkers({})).workers.length === 0);
    }

    async #register(instanceId: bigint): Promise<void> {
      this.#registrations.set(instanceId, await discovery.register(workerOf(instanceId, workerAddress)));
    }

    async #add(instanceId: bigint): Promise<void> {
      await client.upsertWorker({ worker: workerOf(instanceId, '') });
      this.#added.add(instanceId);
    }

    async #withdraw(instanceId: bigint): Promise<boolean> {
      const registration = this.#registrations.get(instanceId);
      this.#registrations.delete(instanceId);
      await registration?.withdraw();
      return registration !== undefined;
    }

    async #setThresholds(): Promise<void> {
      const thresholds = this.#random.oneIn(2) ? {} : { activePrefillTokens: 12_000n, activeDecodeBlocks: 0.9 };
      await client.setThresholds({ model: MODEL, thresholds });
    }
  }
});

/** The load had everything in it that it is meant to have. */
function expectEveryOutcome(outcomes: ReadonlyMap<string, number>, requests: number): void {
  expect(outcomes.get('placed')).to.be.greaterThan(requests / 2);
  const refusals = ['overloaded', 'queue_timeout', 'deadline_exceeded', 'cancelled', 'model_not_found'];
  const others = ['worker_unavailable', 'not_found', 'invalid_argument'];
  expect([...outcomes.keys()]).to.include.members([...refusals, ...others]);
}

function workerOf(instanceId: bigint, address: string): Instance {
  const limits = { kvBlockSize: BLOCK, kvBlocks: 4000n, maxBatchedTokens: 2048 };
  const taints = [instanceId % 2n === 0n ? 'zone=a' : 'zone=b'];
  const parallelism = { data: 2 };
  return create(InstanceSchema, {
    instanceId,
    kind: ServiceKind.WORKER,
    address,
    state: InstanceState.READY,
    cards: [{ name: MODEL, digest: Uint8Array.of(1), limits, taints, parallelism }],
  });
}
