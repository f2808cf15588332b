import type { AffinityOptions } from '#core/routing/session-affinity.ts';
import type { Thresholds } from '#core/routing/thresholds.ts';
import { ActiveSequences } from '#core/sequences/active-sequences.ts';
import { PrefillModel } from '#core/sequences/prefill-model.ts';
import type { Instance } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import { createRpcClient } from '#lib/rpc/client.ts';
import type { ServiceParts } from '#lib/service/run.ts';
import { targetOf } from '#lib/service/security.ts';
import { Admission } from './admission.ts';
import type { RouterClock } from './clock.ts';
import type { RouterConfig } from './config.ts';
import type { RouterContext } from './context.ts';
import { policySettings, withPresets } from './cost-config.ts';
import { Disaggregation } from './disaggregation.ts';
import { parseDisaggregation } from './disaggregation-config.ts';
import { measureAtScrape } from './gauges.ts';
import { createKvBlocks, type KvBlocks } from './kv-blocks.ts';
import { noOverlap } from './kv-overlap.ts';
import { type LoadPoll, noLoadPoll, startLoadPoll } from './load-poll.ts';
import { type RouterMetrics, routerMetrics } from './metrics.ts';
import { peerAccounts } from './peer-accounts.ts';
import { grpcStreams } from './peers/grpc.ts';
import { peerMetrics } from './peers/metrics.ts';
import { PeerSync } from './peers/peer-sync.ts';
import { systemClock as peerClock } from './peers/ports.ts';
import { Placer } from './placer.ts';
import { profiles } from './queue-config.ts';
import { Reservations } from './reservations.ts';
import { Sessions } from './sessions.ts';
import { TimedReservations } from './timed-reservations.ts';
import { Workers } from './workers.ts';

/** What a simulation puts in place of chance and of connections to workers. */
export interface Outside {
  readonly random: () => number;
  readonly startPoll: ConstructorParameters<typeof Workers>[0]['startPoll'];
}

/** Wires the parts of a router. Nothing listens yet; workers are watched from now on. */
export function createContext(
  settings: RouterConfig,
  parts: ServiceParts,
  stopping: AbortSignal,
  clock: RouterClock,
  outside: Partial<Outside> = {},
): RouterContext {
  const config = withPresets(settings);
  const { telemetry, discovery, instanceId } = parts;
  const metrics = routerMetrics(telemetry.metrics);
  const prefillModel = config.prefillLoadModel === 'learned' ? new PrefillModel() : undefined;
  const active = new ActiveSequences({ ...config, prefillModel });
  const thresholds = new Map<string, Thresholds>();
  const defaults = defaultThresholds(config);
  const { nowMs } = clock;
  const blocks: KvBlocks = createKvBlocks(config, parts, () => workers, nowMs);
  const workers: Workers = new Workers({
    discovery,
    metrics,
    log: telemetry.log,
    inhibitMs: config.inhibitMs,
    maxAddedWorkers: config.maxAddedWorkers,
    minInitialWorkers: config.minInitialWorkers,
    nowMs,
    startPoll: outside.startPoll ?? ((instance, listener) => pollOf(config, parts, instance, listener)),
    onGone: (worker, slots) => {
      blocks.workerGone(worker, slots);
      reservations.endWorker(worker, slots);
      peers?.workerGone(worker);
    },
    onChange: (worker) => {
      blocks.workerChanged(worker);
      admission.wake();
      if (workers.has(worker)) peers?.workerUp(worker);
    },
    onLoad: (worker) => admission.wake(worker),
  });
  const overlap = config.loadAware ? noOverlap : blocks.overlap;
  const placer = new Placer({
    workers,
    active,
    overlap,
    modes: config,
    accounting: config,
    metrics,
    policies: policySettings(config),
    random: outside.random ?? Math.random,
    nowMs,
    thresholds: (model) => thresholds.get(model) ?? defaults,
  });
  const admission = createAdmission(config, placer, workers, metrics, clock);
  const sessions = new Sessions(
    affinityOptions(config, instanceId),
    workers,
    nowMs,
    config.sessionChildren === 'parent',
  );
  const { maxReservations, reservationTtlSeconds } = config;
  const { tracer } = telemetry;
  const settingsOfStages = parseDisaggregation(config);
  const waiting = (): number => admission.size;
  const disaggregation = new Disaggregation({ placer, workers, settings: settingsOfStages, waiting });
  const booked = { placer, admission, active, sessions, workers, overlap, metrics, disaggregation };
  const reservations: Reservations = new Reservations({ ...booked, maxReservations, tracer, nowMs });
  const peers: PeerSync | null = config.replicaSync ? createPeers(config, parts, reservations, sessions) : null;
  if (peers !== null) reservations.observe(peers);
  measureAtScrape(telemetry.metrics, { ...booked, blocks, limits: config, nowMs });
  return {
    instanceId,
    workers,
    active,
    admission,
    blocks,
    placer,
    reservations,
    timed: new TimedReservations({ reservations, metrics, ttlMs: reservationTtlSeconds * 1000 }),
    peers,
    thresholds,
    nowMs,
    defaultThresholds: defaults,
    metrics,
    log: telemetry.log,
    stopping,
  };
}

function createAdmission(
  config: RouterConfig,
  placer: Placer,
  workers: Workers,
  metrics: RouterMetrics,
  clock: RouterClock,
): Admission {
  return new Admission({
    placer,
    workers,
    maxWaiting: config.maxQueuedRequests,
    defaultTimeoutMs: config.queueTimeoutMs,
    refreshAfterMs: config.overlapRefreshSeconds * 1000,
    tickMs: config.prefillLoadModel === 'none' ? 60_000 : 100,
    ...clock,
    profile: profiles(config),
    onRefused: (policyClass, because) => metrics.queueRefusals.inc({ class: policyClass, because }),
  });
}

function createPeers(
  config: RouterConfig,
  { telemetry, discovery, instanceId }: ServiceParts,
  reservations: Reservations,
  sessions: Sessions,
): PeerSync {
  const ownTls = config.tlsCert !== undefined;
  return new PeerSync({
    instanceId,
    config,
    discovery,
    accounts: peerAccounts(reservations),
    sessions,
    metrics: peerMetrics(telemetry.metrics),
    log: telemetry.log,
    clock: peerClock,
    random: Math.random,
    openStream: grpcStreams(({ address, tls = ownTls }) => targetOf({ address, tls }, config), telemetry),
  });
}

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
