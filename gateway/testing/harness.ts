import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { create } from '@bufbuild/protobuf';
import type { Client } from '@connectrpc/connect';
import { type Instance, InstanceSchema, ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import type { EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import {
  CapabilitiesSchema,
  LimitsSchema,
  type ModelCard,
  ModelCardSchema,
  SamplingField,
  Task,
  TokenizerSpecSchema,
  WorkerRole,
} from '#gen/stator/model/v1/model_pb.ts';
import { defaultSettings } from '#lib/config/settings.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { buildContext } from '../build-context.ts';
import { type GatewayConfig, gatewaySettings } from '../config.ts';
import type { GatewayContext } from '../context.ts';
import { HttpEdge } from '../http/http-server.ts';
import type { RouterClient } from '../routing/router-client.ts';
import { openStores } from '../stores.ts';
import { byteTokenizer } from './byte-tokenizer.ts';
import type { ScriptedWorker } from './scripted-worker.ts';

type CardInit = Partial<ModelCard>;

/** A card that promises everything the scripted worker can do. */
export function testCard(changes: CardInit = {}): ModelCard {
  const card = create(ModelCardSchema, {
    name: 'test-model',
    aliases: ['test-alias'],
    digest: new Uint8Array(32).fill(7),
    limits: create(LimitsSchema, { contextLength: 4096, kvBlockSize: 16 }),
    tokenizer: create(TokenizerSpecSchema, { vocabSize: 259, digest: new Uint8Array(32).fill(1) }),
    role: WorkerRole.AGGREGATED,
    createdUnixMs: 1_700_000_000_000n,
    capabilities: create(CapabilitiesSchema, {
      tasks: [Task.CHAT, Task.COMPLETION],
      samplingFields: [
        SamplingField.TEMPERATURE,
        SamplingField.TOP_P,
        SamplingField.TOP_K,
        SamplingField.MIN_P,
        SamplingField.FREQUENCY_PENALTY,
        SamplingField.PRESENCE_PENALTY,
        SamplingField.REPETITION_PENALTY,
        SamplingField.LOGIT_BIAS,
        SamplingField.SEED,
      ],
      maxTopLogprobs: 20,
    }),
  });
  return { ...card, ...changes };
}

export function workerInstance(instanceId: bigint, card: ModelCard): Instance {
  return create(InstanceSchema, {
    instanceId,
    kind: ServiceKind.WORKER,
    address: `worker-${instanceId}:1`,
    cards: [card],
  });
}

export interface Harness {
  readonly url: string;
  readonly port: number;
  readonly context: GatewayContext;
  readonly edge: HttpEdge;
  readonly config: GatewayConfig;
  drain(): void;
  addWorker(instanceId: bigint, worker: ScriptedWorker, card?: ModelCard): void;
  post(path: string, body: unknown, init?: RequestInit): Promise<Response>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** The real edge and pipeline on a free port, with scripted workers and a tokenizer of bytes behind them. Default router: in turn. */
export async function startHarness(
  config: Partial<GatewayConfig> = {},
  router?: RouterClient,
  nowUnixMs: () => number = Date.now,
): Promise<Harness> {
  const settings = { ...defaultSettings(gatewaySettings), ...config };
  const workers = new Map<bigint, ScriptedWorker>();
  const draining = new AbortController();
  const links = {
    connector: {
      openSession: (instance: Instance) => {
        const worker = workers.get(instance.instanceId);
        if (worker === undefined) throw new Error('no such worker');
        return worker;
      },
      openClient: (instance: Instance) => {
        const worker = workers.get(instance.instanceId);
        if (worker === undefined) throw new Error('no such worker');
        if (Object.keys(worker.calls).length === 0) throw new StatorError('unimplemented', 'this worker has no calls');
        return { client: worker.calls as Client<typeof EngineService>, close: () => {} };
      },
    },
    tokenizer: byteTokenizer(),
    hasTokenizer: () => true,
    router: (fallback: RouterClient): RouterClient => router ?? fallback,
    hasRouter: () => true,
    nowUnixMs,
    openBlockManager: () => {
      throw new Error('there are no block managers');
    },
  };
  const telemetry = quietTelemetry();
  const stores = await openStores(settings, telemetry);
  const context = buildContext(settings, telemetry, links, stores, draining.signal);
  context.batches.start(context);
  context.background.start(context);
  const edge = new HttpEdge(context);
  const server: Server = createServer(edge.handle);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const url = `http://127.0.0.1:${port}`;
  return {
    url,
    port,
    context,
    edge,
    config: settings,
    drain: () => draining.abort(),
    addWorker(instanceId, worker, card = testCard()) {
      workers.set(instanceId, worker);
      context.workers.up(workerInstance(instanceId, card));
    },
    post: (path, body, init = {}) =>
      fetch(`${url}${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: typeof body === 'string' ? body : JSON.stringify(body),
        ...init,
      }),
    async [Symbol.asyncDispose]() {
      await context.batches.stop();
      await context.background.stop();
      await context.agents.close();
      context.workers.close();
      context.pipeline.router.close();
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
      await context.access.close();
      await stores.close();
    },
  };
}
