import type { ServiceImpl } from '@connectrpc/connect';
import { ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { KvBlockService, KvPeerService } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { startRpcServer } from '#lib/rpc/server.ts';
import { describeInstance } from '#lib/service/instance.ts';
import type { ServiceParts } from '#lib/service/run.ts';
import { serverSecurity } from '#lib/service/security.ts';
import type { KvbmConfig } from './config.ts';
import type { KvbmContext } from './context.ts';
import { createContext, type OpenLowerTiers } from './create-context.ts';
import { abort } from './handlers/abort.ts';
import { attach } from './handlers/attach.ts';
import { commit } from './handlers/commit.ts';
import { evict } from './handlers/evict.ts';
import { listBlocks } from './handlers/list-blocks.ts';
import { match } from './handlers/match.ts';
import { onboard } from './handlers/onboard.ts';
import { openNamespace } from './handlers/open-namespace.ts';
import { prefetch } from './handlers/prefetch.ts';
import { purge } from './handlers/purge.ts';
import { release } from './handlers/release.ts';
import { reserve } from './handlers/reserve.ts';
import { stats } from './handlers/stats.ts';
import { verify } from './handlers/verify.ts';
import { watchEvents } from './handlers/watch-events.ts';
import { healthHttp } from './health.ts';
import { openStoredTiers } from './movers/stored-tiers.ts';
import { sweep } from './sweep.ts';

/** A running block manager. */
export interface KvbmService extends AsyncDisposable {
  /** host:port of its gRPC port. */
  readonly address: string;
  /** Ends streams, movers and mappings; the slabs stay for the next start. Idempotent. */
  stop(): Promise<void>;
}

export async function startKvbm(
  config: KvbmConfig,
  parts: ServiceParts,
  openLower: OpenLowerTiers = openStoredTiers,
): Promise<KvbmService> {
  const { telemetry, discovery, instanceId } = parts;
  const stopping = new AbortController();
  const { context, close } = await createContext(config, parts, stopping.signal, openLower);
  const { peers } = context;
  const timers = startTimers(context);
  const sweeping = sweep(context).catch((error: unknown) => telemetry.log.error({ err: error }, 'the sweep failed'));
  const server = await startRpcServer({
    listen: config.listen,
    services: peers === undefined ? [KvBlockService] : [KvBlockService, KvPeerService],
    routes: (router) => {
      router.service(KvBlockService, createImplementation(context));
      if (peers !== undefined) router.service(KvPeerService, peers.service);
    },
    telemetry,
    http: healthHttp(context),
    ...serverSecurity(config),
  }).catch(async (error: unknown) => {
    stopping.abort();
    timers.stop();
    await close();
    throw error;
  });
  const address = config.advertise ?? server.address;
  const tls = config.tlsCert !== undefined;
  const { name } = config;
  const registration = await discovery.register(
    describeInstance({ instanceId, kind: ServiceKind.KVBM, address, tls, name }),
  );
  let stopped: Promise<void> | undefined;
  const shutDown = async (): Promise<void> => {
    server.setServing(false);
    await registration.withdraw();
    stopping.abort();
    await server.stop(config.shutdownGraceSeconds * 1000);
    timers.stop();
    await sweeping;
    await close();
  };
  const stop = (): Promise<void> => {
    stopped ??= shutDown();
    return stopped;
  };
  server.setServing(true);
  return { address, stop, [Symbol.asyncDispose]: stop };
}

function startTimers({ config, holders, host, presence }: KvbmContext): { stop(): void } {
  const timers = [
    setInterval(() => {
      holders.poll();
      host.clean();
    }, config.lostPollMs),
    setInterval(() => presence.flush(), config.eventIntervalMs),
  ];
  return { stop: () => timers.forEach(clearInterval) };
}

function createImplementation(context: KvbmContext): Partial<ServiceImpl<typeof KvBlockService>> {
  return {
    ...attach(context),
    ...openNamespace(context),
    ...match(context),
    ...reserve(context),
    ...commit(context),
    ...abort(context),
    ...onboard(context),
    ...release(context),
    ...prefetch(context),
    ...evict(context),
    ...purge(context),
    ...stats(context),
    ...listBlocks(context),
    ...verify(context),
    ...watchEvents(context),
  };
}
