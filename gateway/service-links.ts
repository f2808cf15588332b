import type { Client } from '@connectrpc/connect';
import type { Instance } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import { KvBlockService } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { RouterService } from '#gen/stator/router/v1/router_pb.ts';
import { TokenizerService } from '#gen/stator/tokenizer/v1/tokenizer_pb.ts';
import { createRpcClient } from '#lib/rpc/client.ts';
import { EngineSession } from '#lib/rpc/session/client.ts';
import type { RpcTarget } from '#lib/rpc/target.ts';
import type { ServiceParts } from '#lib/service/run.ts';
import { targetOf } from '#lib/service/security.ts';
import type { GatewayLinks } from './build-context.ts';
import type { GatewayConfig } from './config.ts';
import type { OpenBlockManager } from './console/services.ts';
import { RemoteRouter } from './routing/remote-router.ts';
import type { RouterClient } from './routing/router-client.ts';
import { RouterSwitch } from './routing/router-switch.ts';
import type { GatewayOverrides } from './service.ts';
import { TokenizerPool } from './tokenizer/tokenizer-pool.ts';
import type { EngineClient, WorkerConnector } from './workers/worker-pool.ts';
import type { WorkerSession } from './workers/worker-session.ts';

/** Messages to a router that may wait; far more than one request at a time each could cause. */
const maxRouterOutbox = 65_536;
const longestBackoffMs = 5000;

/** Silence after which a router is probed, and the time that its answer may take: requests wait for it meanwhile, and could go without. */
const routerProbeMs = 2000;

/** How a gateway reaches the other services: over the network, or by the parts that its caller gave it. */
export class ServiceLinks implements GatewayLinks, WorkerConnector {
  readonly tokenizers: TokenizerPool;
  readonly tokenizer: Client<typeof TokenizerService>;
  /** null where the router is a part of this process. */
  routers: RouterSwitch | null = null;
  readonly connector: WorkerConnector = this;
  readonly #config: GatewayConfig;
  readonly #parts: ServiceParts;
  readonly #overrides: GatewayOverrides;

  constructor(config: GatewayConfig, parts: ServiceParts, overrides: GatewayOverrides) {
    this.#config = config;
    this.#parts = parts;
    this.#overrides = overrides;
    this.tokenizers = new TokenizerPool((instance) =>
      createRpcClient(TokenizerService, this.#target(instance), parts.telemetry),
    );
    this.tokenizer = overrides.tokenizer ?? this.tokenizers.client();
  }

  readonly hasTokenizer = (): boolean => this.#overrides.tokenizer !== undefined || this.tokenizers.size > 0;

  readonly hasRouter = (): boolean => this.#overrides.router !== undefined || (this.routers?.connected ?? false);

  readonly router = (fallback: RouterClient, onFallback: () => void): RouterClient => {
    if (this.#overrides.router !== undefined) return this.#overrides.router;
    this.routers = new RouterSwitch((instance) => this.#openRouter(instance), fallback, onFallback);
    return this.routers;
  };

  openSession(instance: Instance): WorkerSession {
    const { telemetry } = this.#parts;
    const session = new EngineSession({
      target: this.#target(instance),
      gatewayId: this.#gatewayId(),
      telemetry,
      instanceId: instance.instanceId,
      onStateChange: (state) => telemetry.log.debug({ worker: instance.address, state }, 'worker session changed'),
    });
    return session as WorkerSession;
  }

  openClient(instance: Instance): EngineClient {
    return createRpcClient(EngineService, this.#target(instance), this.#parts.telemetry);
  }

  readonly openBlockManager: OpenBlockManager = (instance) =>
    createRpcClient(KvBlockService, this.#target(instance), this.#parts.telemetry);

  close(): void {
    this.tokenizers.close();
  }

  #openRouter(instance: Instance): RemoteRouter {
    const { log } = this.#parts.telemetry;
    const { client, close } = createRpcClient(RouterService, this.#target(instance), this.#parts.telemetry, {
      keepaliveMs: routerProbeMs,
      keepaliveTimeoutMs: routerProbeMs,
    });
    const fields = { router: instance.address };
    return new RemoteRouter({
      gatewayId: this.#gatewayId(),
      client,
      onClose: close,
      maxOutbox: maxRouterOutbox,
      backoffMs: (failures) =>
        Math.min(longestBackoffMs, 100 * 2 ** Math.min(failures, 10)) * (0.5 + Math.random() / 2),
      onStateChange: (connected) => {
        if (connected) log.info(fields, 'router connected');
        else log.warn(fields, 'router lost');
      },
    });
  }

  #target(instance: Instance): RpcTarget {
    return targetOf(instance, this.#config);
  }

  #gatewayId(): string {
    return this.#parts.instanceId.toString(16).padStart(16, '0');
  }
}
