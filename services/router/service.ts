import type { ServiceImpl } from '@connectrpc/connect';
import { ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { RouterService as Contract, KvIndexService } from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { startRpcServer } from '#lib/rpc/server.ts';
import { describeInstance } from '#lib/service/instance.ts';
import type { ServiceParts } from '#lib/service/run.ts';
import { serverSecurity } from '#lib/service/security.ts';
import { type RouterClock, systemClock } from './clock.ts';
import type { RouterConfig } from './config.ts';
import type { RouterContext } from './context.ts';
import { createContext } from './create-context.ts';
import { apply } from './handlers/apply.ts';
import { dump } from './handlers/dump.ts';
import { explain } from './handlers/explain.ts';
import { follow } from './handlers/follow.ts';
import { getLoads } from './handlers/get-loads.ts';
import { listWorkers } from './handlers/list-workers.ts';
import { match } from './handlers/match.ts';
import { removeWorker } from './handlers/remove-worker.ts';
import { route } from './handlers/route.ts';
import { session } from './handlers/session.ts';
import { setThresholds } from './handlers/set-thresholds.ts';
import { syncPeers } from './handlers/sync-peers.ts';
import { unfollow } from './handlers/unfollow.ts';
import { updateReservation } from './handlers/update-reservation.ts';
import { upsertWorker } from './handlers/upsert-worker.ts';
import { createLocalRouter, type LocalRouter } from './local.ts';
import { routerRest } from './rest/rest.ts';

/** A running router. */
export interface RouterService extends AsyncDisposable {
  /** host:port of its gRPC port. */
  readonly address: string;
  /** For a gateway in the same process: function calls, nothing is serialised. */
  readonly client: LocalRouter;
  /** Takes no new requests and closes. Idempotent. */
  stop(): Promise<void>;
}

export async function startRouter(
  config: RouterConfig,
  parts: ServiceParts,
  clock: RouterClock = systemClock,
): Promise<RouterService> {
  const { telemetry, discovery, instanceId } = parts;
  const stopping = new AbortController();
  const context = createContext(config, parts, stopping.signal, clock);
  const server = await startRpcServer({
    listen: config.listen,
    services: [Contract, KvIndexService],
    routes: (router) => {
      router.service(Contract, createImplementation(context));
      router.service(KvIndexService, createIndexImplementation(context));
    },
    telemetry,
    ...(config.rest ? { http: routerRest(context, config) } : {}),
    ...serverSecurity(config),
  });
  server.setServing(false);
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
  context.peers?.start();
  const client = createLocalRouter(context, 'local');
  let stopped: Promise<void> | undefined;
  const shutDown = async (): Promise<void> => {
    server.setServing(false);
    await registration.withdraw();
    stopping.abort();
    await context.peers?.close();
    await server.stop(config.shutdownGraceSeconds * 1000);
    context.timed.close();
    context.admission.close();
    await context.blocks.close();
    context.workers.close();
  };
  const stop = (): Promise<void> => {
    stopped ??= shutDown();
    return stopped;
  };
  void context.workers.ready.then(() => {
    if (!stopping.signal.aborted) server.setServing(true);
  });
  return { address, client, stop, [Symbol.asyncDispose]: stop };
}

function createIndexImplementation(context: RouterContext): Partial<ServiceImpl<typeof KvIndexService>> {
  return {
    ...follow(context),
    ...unfollow(context),
    ...match(context),
    ...apply(context),
    ...dump(context),
  };
}

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
    // Without a handler it answers UNIMPLEMENTED.
    ...(context.peers === null ? {} : syncPeers({ peers: context.peers })),
  };
}

function aborted(signal: AbortSignal): Promise<never> {
  const error = new StatorError('cancelled', 'The router was stopped before it knew its workers.');
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(error), { once: true }));
}
