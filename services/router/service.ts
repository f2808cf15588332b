import type { ServiceImpl } from '@connectrpc/connect';
import type { AffinityOptions } from '#core/routing/session-affinity.ts';
import type { Thresholds } from '#core/routing/thresholds.ts';
import { ActiveSequences } from '#core/sequences/active-sequences.ts';
import { PrefillModel } from '#core/sequences/prefill-model.ts';
import { type Instance, ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import { RouterService as Contract, KvIndexService } from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { createRpcClient } from '#lib/rpc/client.ts';
import { startRpcServer } from '#lib/rpc/server.ts';
import { describeInstance } from '#lib/service/instance.ts';
import type { ServiceParts } from '#lib/service/run.ts';
import { serverSecurity, targetOf } from '#lib/service/security.ts';
import { Admission } from './admission.ts';
import type { RouterConfig } from './config.ts';
import type { RouterContext } from './context.ts';
import { policySettings } from './cost-config.ts';
import { explain } from './handlers/explain.ts';
import { getLoads } from './handlers/get-loads.ts';
import { listWorkers } from './handlers/list-workers.ts';
import { removeWorker } from './handlers/remove-worker.ts';
import { route } from './handlers/route.ts';
import { session } from './handlers/session.ts';
import { setThresholds } from './handlers/set-thresholds.ts';
import { updateReservation } from './handlers/update-reservation.ts';
import { upsertWorker } from './handlers/upsert-worker.ts';
import { noOverlap } from './kv-overlap.ts';
import { type LoadPoll, noLoadPoll, startLoadPoll } from './load-poll.ts';
import { createLocalRouter, type LocalRouter } from './local.ts';
import { routerMetrics } from './metrics.ts';
import { Placer } from './placer.ts';
import { profiles } from './queue-config.ts';
import { Reservations } from './reservations.ts';
import { routerRest } from './rest/rest.ts';
import { Sessions } from './sessions.ts';
import { TimedReservations } from './timed-reservations.ts';
import { Workers } from './workers.ts';

/** A running router. */
export interface RouterService extends AsyncDisposable {
  /** host:port of its gRPC port. */
  readonly address: string;
  /** For a gateway in the same process: function calls, nothing is serialised. */
  readonly client: LocalRouter;
  /** Takes no new requests and closes. Idempotent. */
  stop(): Promise<void>;
}

export async function startRouter(config: RouterConfig, parts: ServiceParts): Promise<RouterService> {
  const { telemetry, discovery, instanceId } = parts;
  const stopping = new AbortController();
  const context = createContext(config, parts, stopping.signal);
  const server = await startRpcServer({
    listen: config.listen,
    services: [Contract, KvIndexService],
    routes: (router) => {
      router.service(Contract, createImplementation(context));
      // Without handlers every RPC answers UNIMPLEMENTED.
      router.service(KvIndexService, {});
    },
    telemetry,
    ...(config.rest ? { http: routerRest(context, config, noEvents) } : {}),
    ...serverSecurity(config),
  });
  const address = config.advertise ?? server.address;
  const registration = await discovery.register(
    describeInstance({
      instanceId,
      kind: ServiceKind.ROUTER,
      address,
      tls: config.tlsCert !== undefined,
    }),
  );
  await Promise.race([context.workers.synced, aborted(parts.shutdown)]);
  const client = createLocalRouter(context.reservations, 'local');
  let stopped: Promise<void> | undefined;
  const shutDown = async (): Promise<void> => {
    server.setServing(false);
    await registration.withdraw();
    stopping.abort();
    await server.stop(config.shutdownGraceSeconds * 1000);
    context.timed.close();
    context.admission.close();
    context.workers.close();
  };
  const stop = (): Promise<void> => {
    stopped ??= shutDown();
    return stopped;
  };
  server.setServing(true);
  return { address, client, stop, [Symbol.asyncDispose]: stop };
}

function createContext(config: RouterConfig, parts: ServiceParts, stopping: AbortSignal): RouterContext {
  const { telemetry, discovery, instanceId } = parts;
  const metrics = routerMetrics(telemetry.metrics);
  const prefillModel = config.prefillLoadModel === 'learned' ? new PrefillModel() : undefined;
  const active = new ActiveSequences({ ...config, prefillModel });
  const thresholds = new Map<string, Thresholds>();
  const defaults = defaultThresholds(config);
  const nowMs = (): number => performance.now();
  const workers: Workers = new Workers({
    discovery,
    metrics,
    log: telemetry.log,
    inhibitMs: config.inhibitMs,
    nowMs,
    startPoll: (instance, listener) => pollOf(config, parts, instance, listener),
    onGone: (worker, slots) => reservations.endWorker(worker, slots),
    onChange: () => admission.wake(),
    onLoad: (worker) => admission.wake(worker),
  });
  const overlap = noOverlap;
  const placer = new Placer({
    workers,
    active,
    overlap,
    mode: config.mode,
    policies: policySettings(config),
    random: Math.random,
    nowMs,
    thresholds: (model) => thresholds.get(model) ?? defaults,
  });
  const { maxReservations, reservationTtlSeconds } = config;
  const admission = new Admission({
    placer,
    workers,
    maxWaiting: config.maxQueuedRequests,
    defaultTimeoutMs: config.queueTimeoutMs,
    refreshAfterMs: config.overlapRefreshSeconds * 1000,
    tickMs: config.prefillLoadModel === 'none' ? 60_000 : 100,
    nowMs,
    wallMs: Date.now,
    profile: profiles(config),
  });
  const sessions = new Sessions(affinityOptions(config, instanceId), workers, nowMs);
  const reservations: Reservations = new Reservations({
    placer,
    admission,
    active,
    sessions,
    workers,
    overlap,
    metrics,
    maxReservations,
    tracer: telemetry.tracer,
    nowMs,
  });
  metrics.reservationLimit.set(maxReservations);
  metrics.queueLimit.set(config.maxQueuedRequests);
  return {
    instanceId,
    workers,
    active,
    admission,
    placer,
    reservations,
    timed: new TimedReservations({ reservations, metrics, ttlMs: reservationTtlSeconds * 1000 }),
    thresholds,
    nowMs,
    defaultThresholds: defaults,
    metrics,
    log: telemetry.log,
    stopping,
  };
}

const noEvents = { follow: (): void => {}, unfollow: (): void => {} };

function affinityOptions(config: RouterConfig, replica: bigint): AffinityOptions | null {
  const { sessionAffinity: mode, sessionTtlSeconds, maxSessions } = config;
  return mode === 'off' ? null : { mode, ttlMs: sessionTtlSeconds * 1000, maxSessions, replica };
}

function pollOf(
  config: RouterConfig,
  { telemetry }: ServiceParts,
  instance: Instance,
  listener: Parameters<ConstructorParameters<typeof Workers>[0]['startPoll']>[1],
): LoadPoll {
  if (instance.address === '') return noLoadPoll;
  const { client, close } = createRpcClient(EngineService, targetOf(instance, config), telemetry);
  return startLoadPoll({ client, intervalMs: config.loadPollMs, onClose: close, ...listener });
}

/** SyncPeers has no handler and answers UNIMPLEMENTED: replicas do not exchange reservations yet. */
function createImplementation(context: RouterContext): Partial<ServiceImpl<typeof Contract>> {
  return {
    ...route(context),
    ...updateReservation(context),
    ...session(context),
    ...explain(context),
    ...listWorkers(context),
    ...upsertWorker(context),
    ...removeWorker(context),
    ...getLoads(context),
    ...setThresholds(context),
  };
}

function defaultThresholds({
  busyDecodeBlocks,
  busyPrefillTokens,
  busyPrefillTokensFraction,
}: RouterConfig): Thresholds {
  return {
    ...(busyDecodeBlocks > 0 ? { activeDecodeBlocks: busyDecodeBlocks } : {}),
    ...(busyPrefillTokens > 0 ? { activePrefillTokens: busyPrefillTokens } : {}),
    ...(busyPrefillTokensFraction > 0 ? { activePrefillTokensFraction: busyPrefillTokensFraction } : {}),
  };
}

function aborted(signal: AbortSignal): Promise<never> {
  const error = new StatorError('cancelled', 'The router was stopped before it knew its workers.');
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(error), { once: true }));
}
