import type { Client } from '@connectrpc/connect';
import { EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import type { GenerateResponse } from '#gen/stator/engine/v1/generate_pb.ts';
import { defaultSettings } from '#lib/config/settings.ts';
import type { Discovery } from '#lib/discovery/discovery.ts';
import { MemoryDiscovery, MemoryHub } from '#lib/discovery/memory.ts';
import { createRpcClient } from '#lib/rpc/client.ts';
import { EngineSession } from '#lib/rpc/session/client.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import { type WorkerConfig, workerSettings } from '../common/config.ts';
import type { Engine } from '../common/engine.ts';
import { startWorker, type WorkerService } from '../common/service.ts';
import { MockerEngine } from './engine.ts';
import type { MockerOptions } from './options.ts';

export interface TestWorkerOptions {
  readonly engine?: Partial<MockerOptions>;
  /** Instead of one synthetic engine. */
  readonly engines?: readonly Engine[];
  readonly config?: Partial<WorkerConfig>;
  readonly telemetry?: Telemetry;
  readonly instanceId?: bigint;
}

/** For tests: a worker, a client of it, and the discovery it registers in. */
export interface TestWorker extends AsyncDisposable {
  readonly worker: WorkerService;
  readonly client: Client<typeof EngineService>;
  readonly discovery: Discovery;
  readonly telemetry: Telemetry;
  /** What the worker's own discovery shows of it. */
  openSession(): EngineSession;
}

export async function startTestWorker(options: TestWorkerOptions = {}): Promise<TestWorker> {
  const telemetry = options.telemetry ?? quietTelemetry();
  const hub = new MemoryHub();
  const discovery = new MemoryDiscovery(hub, { namespace: 'test', telemetry });
  const worker = await startWorker({
    kind: 'mocker',
    engines: options.engines ?? [new MockerEngine({ meanOutputTokens: 0, ...options.engine })],
    config: defaultSettings(workerSettings, {
      drainNoticeMs: 0,
      canaryIdleSeconds: 0,
      shutdownGraceSeconds: 5,
      ...options.config,
    }),
    parts: { telemetry, discovery, shutdown: new AbortController().signal, instanceId: options.instanceId ?? 77n },
  });
  const rpc = createRpcClient(EngineService, { address: worker.address }, telemetry);
  const sessions: EngineSession[] = [];
  return {
    worker,
    client: rpc.client,
    discovery,
    telemetry,
    openSession() {
      const session = new EngineSession({ target: { address: worker.address }, gatewayId: 'test', telemetry });
      sessions.push(session);
      return session;
    },
    async [Symbol.asyncDispose]() {
      for (const session of sessions) session.close();
      rpc.close();
      await worker.stop();
      await discovery.close();
    },
  };
}

/** A whole answer of Generate. */
export interface Answer {
  readonly tokens: readonly number[];
  readonly text: string;
  readonly parts: readonly GenerateResponse[];
  readonly last: GenerateResponse | undefined;
}

export async function collect(stream: AsyncIterable<GenerateResponse>): Promise<Answer> {
  const parts: GenerateResponse[] = [];
  for await (const part of stream) parts.push(part);
  return {
    tokens: parts.flatMap((part) => part.tokenIds),
    text: parts.map((part) => part.text).join(''),
    parts,
    last: parts.at(-1),
  };
}

/** What a call throws. */
export async function rejection(call: Promise<unknown>): Promise<unknown> {
  try {
    await call;
  } catch (thrown) {
    return thrown;
  }
  throw new Error('the call was expected to fail');
}
