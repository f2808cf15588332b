import type { Client } from '@connectrpc/connect';
import { Gauge } from 'prom-client';
import type { TokenizerService } from '#gen/stator/tokenizer/v1/tokenizer_pb.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import { Agents } from './agents/agents.ts';
import { BatchRunner } from './api/batches/runner.ts';
import { BackgroundResponses } from './api/responses/background.ts';
import type { GatewayConfig } from './config.ts';
import { KnownServices, type OpenBlockManager } from './console/services.ts';
import type { GatewayContext } from './context.ts';
import { Degradations } from './health/degradations.ts';
import { RunningRequests } from './http/running-requests.ts';
import { MediaLoader } from './media/media-loader.ts';
import { GatewayMetrics } from './metrics/metrics.ts';
import { exposeModels } from './metrics/model-gauges.ts';
import { ModelCatalog } from './models/catalog.ts';
import type { PipelineParts } from './pipeline/parts.ts';
import { realtimeMetrics } from './realtime/metrics.ts';
import { RoundRobinRouter } from './routing/round-robin-router.ts';
import type { RouterClient } from './routing/router-client.ts';
import { FlushQueue } from './sse/flush-queue.ts';
import type { GatewayStores } from './stores.ts';
import { RequestJournal } from './telemetry/request-journal.ts';
import { openAccess } from './tenants/open-access.ts';
import { TokenTables } from './tokenizer/token-tables.ts';
import { HandoffReleases } from './workers/handoff-releases.ts';
import { type WorkerConnector, WorkerPool } from './workers/worker-pool.ts';

/** What the outside gives a gateway: how it reaches the other services. */
export interface GatewayLinks {
  readonly connector: WorkerConnector;
  readonly tokenizer: Client<typeof TokenizerService>;
  readonly hasTokenizer: () => boolean;
  /** The router; `fallback` chooses in turn where it cannot. */
  readonly router: (fallback: RouterClient, onFallback: () => void) => RouterClient;
  readonly hasRouter: () => boolean;
  readonly openBlockManager: OpenBlockManager;
  /** Unix time in milliseconds by which batches expire. Default: the system's clock. */
  readonly nowUnixMs?: () => number;
}

/** Wires the parts of a gateway; opens no connection. Throws `invalid_argument` for a file of keys that cannot be used. */
export function buildContext(
  config: GatewayConfig,
  telemetry: Telemetry,
  links: GatewayLinks,
  stores: GatewayStores,
  draining: AbortSignal,
): GatewayContext {
  const catalog = new ModelCatalog((instance, card) => {
    const fields = { instance_id: instance.instanceId.toString(), model: card.name };
    telemetry.log.error(fields, 'worker left out: its model card differs from the set that serves the model');
  });
  const access = openAccess(config, telemetry, stores);
  const workers = new WorkerPool(links.connector, catalog);
  const metrics = new GatewayMetrics(telemetry.metrics, catalog);
  const fallback = new RoundRobinRouter(catalog, (instanceId) => workers.isAlive(instanceId));
  const router = links.router(fallback, () => metrics.routerFallbacks.inc());
  const tables = new TokenTables(links.tokenizer, { limit: config.maxTokenTables });
  const degradations = new Degradations({
    no_tokenizer: () => !links.hasTokenizer(),
    no_router: () => !links.hasRouter(),
    no_workers: () => catalog.ready().length === 0,
    stale_keys: () => access.tenants.problem !== null,
    no_limits_store: () => access.tenants.limits.isAlone,
  });
  exposeModels(telemetry.metrics, catalog);
  exposeState(telemetry, { workers, degradations, tables });
  const migration = {
    limit: config.migrationLimit,
    maxSequenceTokens: config.migrationMaxTokens === 0 ? null : config.migrationMaxTokens,
  };
  const routeTimeoutMs = config.routeTimeoutSeconds * 1000;
  // A store in memory is this gateway's own.
  const isShared = config.store !== 'memory:';
  const agents = new Agents(config, telemetry, () => pipeline, isShared ? stores.store : null);
  const pipeline: PipelineParts = {
    tokenizer: links.tokenizer,
    tables,
    media: new MediaLoader(config, telemetry),
    router,
    sessions: workers,
    metrics,
    turns: agents,
    handoffs: new HandoffReleases(workers, telemetry),
    tenants: access.tenants,
    migration,
    routeTimeoutMs,
  };
  const flushQueue = new FlushQueue();
  return {
    config,
    telemetry,
    metrics,
    catalog,
    workers,
    tokenizer: links.tokenizer,
    pipeline,
    flushQueue,
    degradations,
    access,
    agents,
    journal: new RequestJournal(config.console ? config.consoleRequests : 0),
    services: new KnownServices(links.openBlockManager),
    running: new RunningRequests(config.maxRequests, draining),
    realtime: realtimeMetrics(telemetry.metrics),
    store: stores.store,
    background: new BackgroundResponses(
      { most: config.maxBackgroundResponses, leaseMs: config.backgroundLeaseSeconds * 1000, isShared },
      telemetry.metrics,
    ),
    batches: new BatchRunner(telemetry.metrics, links.nowUnixMs),
    draining,
  };
}

/** Gauges that are read when Prometheus asks. */
function exposeState(
  telemetry: Telemetry,
  parts: { workers: WorkerPool; degradations: Degradations; tables: TokenTables },
): void {
  const gauge = (name: string, help: string, read: () => number): void => {
    new Gauge({
      name: `stator_gateway_${name}`,
      help,
      registers: [telemetry.metrics],
      collect() {
        this.set(read());
      },
    });
  };
  gauge('workers', 'Workers that have a session.', () => parts.workers.size);
  gauge('running_sequences', 'Sequences that run over all sessions.', () => parts.workers.inFlight);
  gauge('token_tables', 'Vocabularies kept for turning tokens into text.', () => parts.tables.size);
  new Gauge({
    name: 'stator_gateway_degraded',
    help: '1 while the gateway does without something.',
    labelNames: ['kind'],
    registers: [telemetry.metrics],
    collect() {
      this.reset();
      for (const kind of parts.degradations.current()) this.set({ kind }, 1);
    },
  });
}
