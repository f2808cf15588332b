import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { create } from '@bufbuild/protobuf';
import { EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import { GenerateRequestSchema } from '#gen/stator/engine/v1/generate_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { createRpcClient, type RpcClient } from '#lib/rpc/client.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { sumOf } from '#tests/support/metrics-text.ts';
import { scrape } from '#tests/support/scrape.ts';
import { flagsOf, type Overrides, StatorProcess } from '#tests/support/stator-process.ts';
import { until } from '#tests/support/until.ts';

export interface Generated {
  readonly tokens: readonly number[];
  readonly cachedTokens: number;
}

/** A process of this suite with its address. */
export class TestProcess {
  readonly process: StatorProcess;
  readonly address: string;

  constructor(process: StatorProcess, address: string) {
    this.process = process;
    this.address = address;
  }

  signal(signal: NodeJS.Signals): void {
    this.process.child.kill(signal);
  }

  /** Resolves once it is gone: what it wrote is written. */
  async kill(): Promise<void> {
    await this.process.stop('SIGKILL');
  }

  async metric(name: string, labels: Readonly<Record<string, string>> = {}): Promise<number> {
    return sumOf(await scrape(this.address), name, labels);
  }
}

/** A worker process and a client of it. */
export class WorkerProcess extends TestProcess {
  readonly rpc: RpcClient<typeof EngineService>;

  constructor(process: StatorProcess, address: string) {
    super(process, address);
    this.rpc = createRpcClient(EngineService, { address }, quietTelemetry());
  }

  /** Rejects when the request fails, or is not done in time: nothing may hang. */
  async generate(tokenIds: readonly number[], maxTokens: number, timeoutMs = 60_000): Promise<Generated> {
    const request = create(GenerateRequestSchema, {
      tokenIds: [...tokenIds],
      stop: { maxTokens, ignoreEos: true },
      sampling: { temperature: 0 },
    });
    const tokens: number[] = [];
    let cachedTokens = 0;
    const signal = AbortSignal.timeout(timeoutMs);
    for await (const part of this.rpc.client.generate(request, { signal })) {
      tokens.push(...part.tokenIds);
      cachedTokens = part.usage?.cachedTokens ?? cachedTokens;
    }
    if (tokens.length !== maxTokens)
      throw new StatorError('stream_incomplete', `${tokens.length} of ${maxTokens} tokens`);
    return { tokens, cachedTokens };
  }

  async isAttached(): Promise<boolean> {
    return (await this.metric('stator_worker_kv_tiers_attached')) === 1;
  }
}

/** A machine's worth of processes that find each other through a directory. */
export class Machine implements AsyncDisposable {
  readonly folder = mkdtempSync(path.join(tmpdir(), 'stator-kv-'));
  readonly #processes: TestProcess[] = [];

  async kvbm(settings: Overrides = {}): Promise<TestProcess> {
    const slabDir = path.join(this.folder, 'slabs');
    const defaults = { slabDir, hostMib: 8, heartbeatMs: 1000, layoutHostMib: 8 };
    return this.#start(['kvbm'], { ...defaults, ...settings }, (process, address) => new TestProcess(process, address));
  }

  async worker(engine: 'mocker' | 'llamacpp', settings: Overrides = {}): Promise<WorkerProcess> {
    const defaults = { kvLockDirectory: this.folder, kvbmRetryMs: 200, canaryIdleSeconds: 0, drainNoticeMs: 0 };
    return this.#start(
      ['worker', engine],
      { ...defaults, ...settings },
      (process, address) => new WorkerProcess(process, address),
    );
  }

  router(settings: Overrides = {}): Promise<TestProcess> {
    return this.#start(['router'], settings, (process, address) => new TestProcess(process, address));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const one of this.#processes.splice(0).reverse()) {
      one.signal('SIGCONT');
      if (one instanceof WorkerProcess) one.rpc.close();
      await one.process[Symbol.asyncDispose]();
    }
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #start<T extends TestProcess>(
    command: readonly string[],
    settings: Overrides,
    make: (process: StatorProcess, address: string) => T,
  ): Promise<T> {
    const common = {
      discovery: `file:${path.join(this.folder, 'discovery')}`,
      discoveryTtlSeconds: 2,
      shutdownGraceSeconds: 3,
      logFormat: 'json',
    };
    const process = new StatorProcess([...command, ...flagsOf({ ...common, ...settings })]);
    try {
      const [, address = ''] = await process.printed(/"address":"([^"]+)"/, 60_000);
      const one = make(process, address);
      this.#processes.push(one);
      return one;
    } catch (error) {
      await process[Symbol.asyncDispose]();
      throw error;
    }
  }
}

/** Resolves once every worker can use its block manager. */
export async function attached(...workers: readonly WorkerProcess[]): Promise<void> {
  for (const worker of workers)
    await until('the worker is attached', () => worker.isAttached(), 30_000).catch((error: unknown) => {
      throw new Error(worker.process.output.slice(-3000), { cause: error });
    });
}
