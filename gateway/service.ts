import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Client } from '@connectrpc/connect';
import { GRPCInferenceService } from '#gen/inference/kserve_pb.ts';
import { type Instance, ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { InferenceService } from '#gen/stator/inference/v1/inference_pb.ts';
import type { TokenizerService } from '#gen/stator/tokenizer/v1/tokenizer_pb.ts';
import type { Discovery, DownReason, Registration, Watch } from '#lib/discovery/discovery.ts';
import { type RpcServer, startRpcServer } from '#lib/rpc/server.ts';
import { describeInstance } from '#lib/service/instance.ts';
import type { ServiceParts } from '#lib/service/run.ts';
import { serverTls } from '#lib/service/security.ts';
import { startAdminPort } from './admin-port.ts';
import { buildContext } from './build-context.ts';
import type { GatewayConfig } from './config.ts';
import type { GatewayContext } from './context.ts';
import { publicInference } from './handlers/inference.ts';
import { HttpEdge } from './http/http-server.ts';
import { kserveHandlers } from './kserve/handlers.ts';
import { RealtimeEdge } from './realtime/edge.ts';
import type { RouterClient } from './routing/router-client.ts';
import { ServiceLinks } from './service-links.ts';
import { openStores } from './stores.ts';

/** Parts that the caller already has: in one process the tokenizer and the router are function calls. */
export interface GatewayOverrides {
  readonly tokenizer?: Client<typeof TokenizerService>;
  readonly router?: RouterClient;
}

export interface GatewayService {
  readonly address: string;
  /** host:port of administration; null: the same. */
  readonly adminAddress: string | null;
  readonly context: GatewayContext;
  /** Refuses new requests, finishes running ones within the grace period, closes everything. Idempotent. */
  stop(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Starts a gateway: one port for REST and inference.v1, following discovery for everything behind it. */
export async function startGateway(
  config: GatewayConfig,
  parts: ServiceParts,
  overrides: GatewayOverrides = {},
): Promise<GatewayService> {
  const stores = await openStores(config, parts.telemetry);
  const links = new ServiceLinks(config, parts, overrides);
  const draining = new AbortController();
  const context = buildContext(config, parts.telemetry, links, stores, draining.signal);
  const watch = followDiscovery(parts.discovery, context, links);
  const edge = new HttpEdge(context, config.adminListen === undefined ? 'only' : 'public');
  const server = await startRpcServer({
    listen: config.listen,
    services: config.kserve ? [InferenceService, GRPCInferenceService] : [InferenceService],
    routes: (router) => {
      router.service(InferenceService, publicInference(context));
      if (config.kserve) router.service(GRPCInferenceService, kserveHandlers(context));
    },
    telemetry: parts.telemetry,
    // HTTP/2's compatibility API is the same for everything that the edge uses.
    http: (request, response) => edge.handle(request as IncomingMessage, response as ServerResponse),
    upgrades: new RealtimeEdge(context),
    requireAuth: false,
    maxRequestBytes: config.bodyLimitMib * 1024 * 1024,
    slowReaderMs: config.slowReaderTimeoutSeconds * 1000,
    messageTimeoutMs: config.messageTimeoutSeconds * 1000,
    maxStreams: config.maxStreams,
    maxConnections: config.maxConnections,
    maxConnectionsPerAddress: config.maxConnectionsPerAddress,
    ...serverTls(config),
  });
  let registration: Registration | null = null;
  let adminPort: RpcServer | null = null;
  let stopping: Promise<void> | null = null;
  const stop = async (): Promise<void> => {
    draining.abort();
    server.setServing(false);
    await registration?.withdraw().catch(() => {});
    await server.stop(config.shutdownGraceSeconds * 1000);
    await adminPort?.stop(0);
    await context.batches.stop();
    await context.background.stop();
    await context.agents.close();
    watch.close();
    links.close();
    context.workers.close();
    context.pipeline.router.close();
    await context.access.close();
    await stores.close();
    context.services.close();
  };
  const stopOnce = (): Promise<void> => {
    stopping ??= stop();
    return stopping;
  };
  try {
    await context.agents.listen();
    adminPort = await startAdminPort(config, context, parts.telemetry);
    const address = config.advertise ?? server.address;
    registration = await parts.discovery.register(
      describeInstance({
        instanceId: parts.instanceId,
        kind: ServiceKind.GATEWAY,
        address,
        tls: config.tlsCert !== undefined,
      }),
    );
  } catch (thrown) {
    await stopOnce();
    throw thrown;
  }
  watch.synced.then(
    () => {
      context.batches.start(context);
      context.background.start(context);
    },
    () => {},
  );
  const adminAddress = adminPort?.address ?? null;
  return { address: server.address, adminAddress, context, stop: stopOnce, [Symbol.asyncDispose]: stopOnce };
}

function followDiscovery(discovery: Discovery, context: GatewayContext, links: ServiceLinks): Watch {
  const up = (instance: Instance): void => {
    context.services.up(instance);
    if (instance.kind === ServiceKind.WORKER) context.workers.up(instance);
    else if (instance.kind === ServiceKind.TOKENIZER) links.tokenizers.up(instance);
    else if (instance.kind === ServiceKind.ROUTER) links.routers?.up(instance);
  };
  const down = (instance: Instance, reason: DownReason): void => {
    context.services.down(instance);
    if (instance.kind === ServiceKind.WORKER) context.workers.down(instance, reason);
    else if (instance.kind === ServiceKind.TOKENIZER) links.tokenizers.down(instance);
    else if (instance.kind === ServiceKind.ROUTER) links.routers?.down(instance, reason);
  };
  return discovery.watch(undefined, { onUp: up, onChange: up, onDown: down });
}
