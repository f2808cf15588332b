import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { create } from '@bufbuild/protobuf';
import { GenerateRequestSchema, type PositionLogprobs } from '#gen/stator/engine/v1/generate_pb.ts';
import { defaultSettings } from '#lib/config/settings.ts';
import { MemoryDiscovery, MemoryHub } from '#lib/discovery/memory.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import type { Engine, Finished, KvEventChange, StepBatch } from '#services/workers/common/engine.ts';
import type { EngineKv, KvPrefix } from '#services/workers/common/engine-kv.ts';
import { AdmittingEngine } from '#services/workers/common/kv-admission.ts';
import { prefixOf } from '#services/workers/common/kv-prefix.ts';
import { kvTiersOf } from '#services/workers/common/kv-tiers/parts.ts';
import { type KvTierConfig, kvTierSettings } from '#services/workers/common/kv-tiers/settings.ts';
import { type KvTiers, TieredEngine } from '#services/workers/common/kv-tiers/tiered-engine.ts';
import { parseMetrics, sumOf } from '#tests/support/metrics-text.ts';
import { until } from '#tests/support/until.ts';

const noSecurity = { tlsCert: undefined, tlsKey: undefined, tlsCa: undefined, internalToken: undefined };

export interface Answer extends Finished {
  readonly tokens: readonly number[];
  /** Where they were asked for. */
  readonly logprobs: readonly PositionLogprobs[];
}

interface Running {
  readonly tokens: number[];
  readonly logprobs: PositionLogprobs[];
  readonly end: (answer: Answer) => void;
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
  readonly #inner: Engine;
  readonly #running = new Map<number, Running>();
  #next = 1;

  constructor(engine: Engine, kvbm: string, settings: Partial<KvTierConfig> = {}) {
    this.#inner = engine;
    const { telemetry } = this;
    const settled = defaultSettings(kvTierSettings, {
      kvbm,
      kvLockDirectory: this.lockDirectory,
      kvbmRetryMs: 50,
      // Longer than a busy machine takes: what is late is dropped, and computed instead.
      ...{ kvbmTimeoutMs: 20_000, kvOnboardTimeoutMs: 20_000, kvOffloadDrainMs: 20_000 },
      ...settings,
    });
    const instanceId = BigInt(++workers);
    const tiers = kvTiersOf(engine, {
      ...{ telemetry, instanceId, name: `worker-${workers}` },
      config: { ...settled, ...noSecurity },
      discovery: new MemoryDiscovery(new MemoryHub(), { namespace: 'tiers', telemetry }),
      onState: (problem) => void this.states.push(problem),
    });
    if (tiers === undefined) throw new Error('the settings want no tiers');
    this.tiers = tiers;
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
    o: {
      readonly maxTokens?: number;
      readonly cacheSalt?: string;
      readonly adapter?: string;
      /** Log-probabilities of so many tokens. */
      readonly topLogprobs?: number;
    } = {},
  ): Promise<Answer> {
    const handle = this.#next++;
    const { maxTokens = 1, cacheSalt = '', adapter = '', topLogprobs } = o;
    const { promise, resolve } = Promise.withResolvers<Answer>();
    this.#running.set(handle, { tokens: [], logprobs: [], end: resolve });
    const output = topLogprobs === undefined ? {} : { topLogprobs };
    const stop = { maxTokens, ignoreEos: true };
    const rest = { stop, sampling: { temperature: 0 }, cache: { cacheSalt }, output, adapter };
    this.engine.submit(handle, create(GenerateRequestSchema, { tokenIds: [...tokenIds], ...rest }));
    return promise;
  }

  get kv(): EngineKv {
    if (this.#inner.kv === undefined) throw new Error('the engine has no KV');
    return this.#inner.kv;
  }

  prefix(tokenIds: readonly number[], o = { adapter: '', cacheSalt: '' }): KvPrefix {
    const found = prefixOf(Uint32Array.from(tokenIds), this.kv.format.blockTokens, o);
    if (found === null) throw new Error('the tokens fill no block');
    return found;
  }

  cached(tokenIds: readonly number[]): number {
    return this.kv.cachedBlocks(this.prefix(tokenIds));
  }

  async metric(name: string, labels: Readonly<Record<string, string>> = {}): Promise<number> {
    return sumOf(parseMetrics(await this.telemetry.metrics.metrics()), name, labels);
  }

  /** Resolves when everything that was offered is written back or dropped. */
  async writtenBack(blocks: number): Promise<void> {
    await until(`${blocks} blocks are written back`, async () => {
      const written = await this.metric('stator_worker_kv_offloaded_blocks_total');
      if (written >= blocks) return true;
      const lines = (await this.telemetry.metrics.metrics()).split('\n').filter((line) => line.includes('_kv_offload'));
      throw new Error(lines.filter((line) => !line.startsWith('#')).join('\n'));
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.engine.stop();
    rmSync(this.lockDirectory, { recursive: true, force: true });
  }

  #onStep({ handles, tokenIds, finished, kvEvents, logprobs }: StepBatch): void {
    this.kvEvents.push(...kvEvents);
    for (const [entry, handle] of handles.entries()) this.#running.get(handle)?.tokens.push(tokenIds[entry] ?? 0);
    for (const { entry, position } of logprobs) this.#running.get(handles[entry] ?? 0)?.logprobs.push(position);
    for (const info of finished) {
      const sequence = this.#running.get(info.handle);
      this.#running.delete(info.handle);
      if (sequence === undefined) throw new Error(`sequence ${info.handle} ended twice`);
      sequence.end({ ...info, ...sequence });
    }
  }
}

/** Prompts that share their first tokens with others of the same family. */
export function promptOf(family: number, member: number, tokens: number): number[] {
  const shared = Math.floor(tokens / 2);
  return Array.from({ length: tokens }, (_, i) => 3 + ((i * 7 + family * 31 + (i >= shared ? member * 13 : 0)) % 250));
}
