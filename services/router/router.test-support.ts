import { create, type MessageInitShape } from '@bufbuild/protobuf';
import type { Client } from '@connectrpc/connect';
import { type Instance, InstanceSchema, InstanceState, ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import type { ModelCard } from '#gen/stator/model/v1/model_pb.ts';
import {
  RouterService as Contract,
  KvIndexService,
  type RouteRequest,
  RouteRequestSchema,
} from '#gen/stator/router/v1/router_pb.ts';
import { defaultSettings } from '#lib/config/settings.ts';
import type { Registration } from '#lib/discovery/discovery.ts';
import { openDiscovery } from '#lib/discovery/open.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { createRpcClient } from '#lib/rpc/client.ts';
import { type RpcServer, startRpcServer } from '#lib/rpc/server.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import { type RouterClock, systemClock } from './clock.ts';
import { type RouterConfig, routerSettings } from './config.ts';
import { type RouterService, startRouter } from './service.ts';

type CardPart = Partial<Pick<ModelCard, 'taints' | 'role' | 'deviceWeight'>>;

export interface FakeWorker {
  readonly id: bigint;
  /** Sequences that it says it runs. */
  readonly running?: number;
  readonly card?: CardPart;
}

/** A whole router over its port, with workers that answer nothing but what their load is. */
export interface TestRouter {
  readonly router: RouterService;
  readonly client: Client<typeof Contract>;
  readonly index: Client<typeof KvIndexService>;
  readonly telemetry: Telemetry;
  readonly registrations: ReadonlyMap<bigint, Registration>;
  /** Over all workers. */
  activeRequests(): Promise<number>;
  /** Its metrics page. */
  metrics(): Promise<string>;
}

/** Starts routers and stops them: `close` after each test. */
export class TestRouters {
  readonly #cleanups: (() => unknown)[] = [];

  async start(
    workers: readonly FakeWorker[],
    settings: Partial<RouterConfig> = {},
    clock: RouterClock = systemClock,
    telemetry: Telemetry = quietTelemetry(),
  ): Promise<TestRouter> {
    const discovery = await openDiscovery('memory:', { namespace: `router-${nextId++}`, ttlSeconds: 5, telemetry });
    this.#cleanups.push(() => discovery.close());
    const registrations = new Map<bigint, Registration>();
    for (const { id, running = 0, card } of workers) {
      const server = await loadServer(running);
      this.#cleanups.push(() => server.stop(0));
      registrations.set(id, await discovery.register(workerInstance(id, server.address, card)));
    }
    const config = defaultSettings(routerSettings, { shutdownGraceSeconds: 0, loadPollMs: 50, ...settings });
    const shutdown = new AbortController();
    const parts = { telemetry, discovery, shutdown: shutdown.signal, instanceId: 99n };
    const router = await startRouter(config, parts, clock);
    this.#cleanups.push(() => router.stop());
    const { client, close } = createRpcClient(Contract, { address: router.address }, telemetry);
    const { client: index, close: closeIndex } = createRpcClient(KvIndexService, router, telemetry);
    this.#cleanups.push(close, closeIndex);
    const activeRequests = async (): Promise<number> => {
      const { loads } = await client.getLoads({});
      return loads.reduce((sum, load) => sum + load.activeRequests, 0);
    };
    const metrics = async (): Promise<string> => (await fetch(`http://${router.address}/metrics`)).text();
    return { router, client, index, telemetry, registrations, activeRequests, metrics };
  }

  async close(): Promise<void> {
    for (const cleanup of this.#cleanups.splice(0).reverse()) await cleanup();
  }
}

/** A port that answers as a worker does when it is asked for its load. */
function loadServer(running: number): Promise<RpcServer> {
  return startRpcServer({
    listen: '127.0.0.1:0',
    services: [EngineService],
    routes: (router) =>
      void router.service(EngineService, {
        getLoad: () => ({ load: { ranks: [{ runningSequences: running, totalKvBlocks: 100n }] } }),
      }),
    telemetry: quietTelemetry(),
  });
}

/** Serves the model `m` in blocks of 16 tokens and passes of 20. */
export function workerInstance(instanceId: bigint, address: string, card: CardPart = {}): Instance {
  const limits = { kvBlockSize: 16, maxBatchedTokens: 20 };
  return create(InstanceSchema, {
    instanceId,
    kind: ServiceKind.WORKER,
    address,
    state: InstanceState.READY,
    cards: [{ name: 'm', digest: Uint8Array.of(1), limits, ...card }],
  });
}

let nextId = 0;
/** A request for the model `m` with a prompt of 40 tokens. */
export function routeRequest(extra: MessageInitShape<typeof RouteRequestSchema> = {}): RouteRequest {
  return create(RouteRequestSchema, { requestId: `r${nextId++}`, model: 'm', promptTokens: 40, ...extra });
}

export async function eventually(what: string, check: () => Promise<boolean> | boolean): Promise<void> {
  for (let i = 0; i < 3000; i++) {
    if (await check()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`timed out: ${what}`);
}

/** Code of the error with which it rejects. */
export async function codeOf(run: Promise<unknown>): Promise<string> {
  return run.then(
    () => 'no error',
    (thrown: unknown) => StatorError.from(thrown).code,
  );
}
