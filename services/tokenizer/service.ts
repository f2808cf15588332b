import type { Client, ServiceImpl } from '@connectrpc/connect';
import { TemplateCache } from '#core/chat/render.ts';
import { ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { TokenizerService as Contract } from '#gen/stator/tokenizer/v1/tokenizer_pb.ts';
import { createLocalClient } from '#lib/rpc/local.ts';
import { startRpcServer } from '#lib/rpc/server.ts';
import { describeInstance } from '#lib/service/instance.ts';
import type { ServiceParts } from '#lib/service/run.ts';
import { serverSecurity, targetOf } from '#lib/service/security.ts';
import { hashBlocks } from '#native/tokens/index.ts';
import { rpcFetch } from './artifacts/fetch.ts';
import { ArtifactStore } from './artifacts/store.ts';
import type { TokenizerConfig } from './config.ts';
import type { TokenizerContext } from './context.ts';
import { Gate } from './gate.ts';
import { countTokens } from './handlers/count-tokens.ts';
import { decode } from './handlers/decode.ts';
import { encode } from './handlers/encode.ts';
import { getTokenizer } from './handlers/get-tokenizer.ts';
import { preprocess } from './handlers/preprocess.ts';
import { type TokenizerMetrics, tokenizerMetrics } from './metrics.ts';
import { loadVocabulary } from './models/loader.ts';
import { Models } from './models/models.ts';
import { SegmentCache } from './segment-cache.ts';

/** A running tokenizer. */
export interface TokenizerService extends AsyncDisposable {
  /** host:port of its gRPC port. */
  readonly address: string;
  /** For callers in the same process: function calls, nothing is serialised. */
  readonly client: Client<typeof Contract>;
  /** Takes no new requests, lets running ones finish, then closes. Idempotent. */
  stop(): Promise<void>;
}

/** Compiled templates that are kept: a few for each model, and those that clients send. */
const maxTemplates = 64;

export async function startTokenizer(config: TokenizerConfig, parts: ServiceParts): Promise<TokenizerService> {
  const { telemetry, discovery, instanceId } = parts;
  const metrics = tokenizerMetrics(telemetry.metrics);
  const models = createModels(config, parts, metrics);
  const context = createContext(config, parts, models, metrics);
  const implementation = createImplementation(context);
  const server = await startRpcServer({
    listen: config.listen,
    services: [Contract],
    routes: (router) => void router.service(Contract, implementation),
    telemetry,
    ...serverSecurity(config),
    maxRequestBytes: config.maxTextBytes * 4,
  });
  const address = config.advertise ?? server.address;
  const registration = await discovery.register(
    describeInstance({
      instanceId,
      kind: ServiceKind.TOKENIZER,
      address,
      tls: config.tlsCert !== undefined,
    }),
  );
  let stopped: Promise<void> | undefined;
  const shutDown = async (): Promise<void> => {
    server.setServing(false);
    await registration.withdraw();
    await server.stop(config.shutdownGraceSeconds * 1000);
    models.close();
  };
  const stop = (): Promise<void> => {
    stopped ??= shutDown();
    return stopped;
  };
  server.setServing(true);
  return { address, client: createLocalClient(Contract, implementation), stop, [Symbol.asyncDispose]: stop };
}

function createModels(config: TokenizerConfig, parts: ServiceParts, metrics: TokenizerMetrics): Models {
  const { telemetry, discovery } = parts;
  const artifacts = new ArtifactStore({
    folder: config.artifactCache,
    fetch: rpcFetch((worker) => targetOf(worker, config), telemetry),
  });
  return new Models({
    discovery,
    load: (model, signal) => loadVocabulary(model, artifacts, signal),
    cache: config.prefixCacheBytes === 0 ? null : new SegmentCache({ maxBytes: config.prefixCacheBytes, metrics }),
    metrics,
    log: telemetry.log,
    maxVocabularies: config.maxVocabularies,
  });
}

function createContext(
  config: TokenizerConfig,
  parts: ServiceParts,
  models: Models,
  metrics: TokenizerMetrics,
): TokenizerContext {
  const gate = new Gate({ maxRunning: config.maxInFlight, maxWaiting: config.maxQueued });
  return {
    models,
    templates: new TemplateCache({ limit: maxTemplates }),
    gate,
    hashBlocks,
    metrics,
    log: parts.telemetry.log,
    maxTextLength: config.maxTextBytes,
    maxRenderMs: config.maxRenderMs,
    wallClock: () => new Date(),
    nowMs: () => performance.now(),
  };
}

function createImplementation(context: TokenizerContext): ServiceImpl<typeof Contract> {
  return {
    ...preprocess(context),
    ...encode(context),
    ...decode(context),
    ...countTokens(context),
    ...getTokenizer(context),
  };
}
