import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { create } from '@bufbuild/protobuf';
import { GenerateRequestSchema } from '#gen/stator/engine/v1/generate_pb.ts';
import { defaultSettings } from '#lib/config/settings.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { hostMemory } from '#native/hostmem/index.ts';
import type { Engine, Finished, KvEventChange, StepBatch } from '#services/workers/common/engine.ts';
import type { EngineKv, KvPrefix } from '#services/workers/common/engine-kv.ts';
import { AdmittingEngine } from '#services/workers/common/kv-admission.ts';
import { prefixOf } from '#services/workers/common/kv-prefix.ts';
import { fixedKvbm } from '#services/workers/common/kv-tiers/locate.ts';
import { type KvTierConfig, kvTierSettings } from '#services/workers/common/kv-tiers/settings.ts';
import { KvTiers, TieredEngine } from '#services/workers/common/kv-tiers/tiered-engine.ts';
import { parseMetrics, sumOf } from '#tests/support/metrics-text.ts';
import { until } from '#tests/support/until.ts';

const noSecurity = { tlsCert: undefined, tlsKey: undefined, tlsCa: undefined, internalToken: undefined };

export interface Answer extends Finished {
  readonly tokens: readonly number[];
}

let workers = 0;

/** An engine with the tiers below it, without the rest of a worker. */
export class TieredWorker implements AsyncDisposable {
  readonly engine: TieredEngine;
  readonly tiers: KvTiers;
  readonly kvEvents: KvEventChange[] = [];
  readonly states: (string | null)[] = [];
  readonly telemetry = quietTelemetry();
  readonly lockDirectory = mkdtempSync(path.join(tmpdir(), 'stator-locks-'));
  readonly #kv: EngineKv;
  readonly #running = new Map<number, { tokens: number[]; end: (answer: Answer) => void }>();
  #next = 1;

  constructor(engine: Engine, kvbm: string, settings: Partial<KvTierConfig> = {}) {
    const { kv } = engine;
    if (kv === undefined) throw new Error('the engine has no KV');
    this.#kv = kv;
    const { telemetry } = this;
    const config = defaultSettings(kvTierSettings, {
      kvLockDirectory: this.lockDirectory,
      kvbmRetryMs: 50,
      kvOnboardTimeoutMs: 10_000,
      ...settings,
    });
    this.tiers = new KvTiers({
      ...{ kv, config, telemetry, memory: hostMemory },
      locator: fixedKvbm(kvbm, noSecurity),
      instanceId: BigInt(++workers),
      name: `worker-${workers}`,
      onState: (problem) => void this.states.push(problem),
    });
    const admitting = new AdmittingEngine(engine, {
      sources: [this.tiers.source],
      observers: [this.tiers.observer],
      maxFetching: 1024,
      fetchTimeoutMs: 60_000,
      holdTimeoutMs: 60_000,
      log: telemetry.log,
      metrics: telemetry.metrics,
    });
    this.engine = new TieredEngine(admitting, this.tiers);
  }

  async start(): Promise<this> {
    const onFatal = (error: Error): void => {
      throw error;
    };
    await this.engine.start({ onStep: (step) => this.#onStep(step), onFatal }, { signal: AbortSignal.timeout(60_000) });
    return this;
  }

  attached(): Promise<unknown> {
    return until('the worker is attached', () => this.tiers.isAttached);
  }

  run(
    tokenIds: readonly number[],
    o: { readonly maxTokens?: number; readonly cacheSalt?: string; readonly adapter?: string } = {},
  ): Promise<Answer> {
    const handle = this.#next++;
    const { maxTokens = 1, cacheSalt = '', adapter = '' } = o;
    const { promise, resolve } = Promise.withResolvers<Answer>();
    this.#running.set(handle, { tokens: [], end: resolve });
    const request = {
      tokenIds: [...tokenIds],
      stop: { maxTokens },
      sampling: { temperature: 0 },
      cache: { cacheSalt },
    };
    this.engine.submit(handle, create(GenerateRequestSchema, { ...request, adapter }));
    return promise;
  }

  prefix(tokenIds: readonly number[], o = { adapter: '', cacheSalt: '' }): KvPrefix {
    const found = prefixOf(Uint32Array.from(tokenIds), this.#kv.format.blockTokens, o);
    if (found === null) throw new Error('the tokens fill no block');
    return found;
  }

  cached(tokenIds: readonly number[]): number {
    return this.#kv.cachedBlocks(this.prefix(tokenIds));
  }

  async metric(name: string, labels: Readonly<Record<string, string>> = {}): Promise<number> {
    return sumOf(parseMetrics(await this.telemetry.metrics.metrics()), name, labels);
  }

  /** Resolves when everything that was offered is written back or dropped. */
  async writtenBack(blocks: number): Promise<void> {
    await until(`${blocks} blocks are written back`, async () => {
      return (await this.metric('stator_worker_kv_offloaded_blocks_total')) >= blocks;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.engine.stop();
    rmSync(this.lockDirectory, { recursive: true, force: true });
  }

  #onStep({ handles, tokenIds, finished, kvEvents }: StepBatch): void {
    this.kvEvents.push(...kvEvents);
    for (const [entry, handle] of handles.entries()) this.#running.get(handle)?.tokens.push(tokenIds[entry] ?? 0);
    for (const info of finished) {
      const sequence = this.#running.get(info.handle);
      this.#running.delete(info.handle);
      if (sequence === undefined) throw new Error(`sequence ${info.handle} ended twice`);
      sequence.end({ ...info, tokens: sequence.tokens });
    }
  }
}

/** Prompts that share their first tokens with others of the same family. */
export function promptOf(family: number, member: number, tokens: number): number[] {
  const shared = Math.floor(tokens / 2);
  return Array.from({ length: tokens }, (_, i) => 3 + ((i * 7 + family * 31 + (i >= shared ? member * 13 : 0)) % 250));
}
