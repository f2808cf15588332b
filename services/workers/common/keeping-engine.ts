import type { Registry } from 'prom-client';
import { counterOf } from '#lib/telemetry/metrics.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import type { WorkerConfig } from './config.ts';
import type { Engine, EngineListener } from './engine.ts';
import { EngineAround } from './engine-around.ts';
import { follow } from './kv-metrics.ts';
import { KvPins, type KvPinsMetrics } from './kv-pins.ts';

type KeptConfig = Pick<WorkerConfig, 'keptPromptShare' | 'maxKeptPrompts' | 'maxKeepSeconds'>;

/** Prompts that are kept in an engine; nothing before it has started. */
export class KeptPrompts {
  readonly pins: KvPins;
  readonly share: number;
  readonly #registry: Registry;
  #metrics: KvPinsMetrics | undefined;

  constructor(engine: Engine, { keptPromptShare, maxKeptPrompts, maxKeepSeconds }: KeptConfig, telemetry: Telemetry) {
    this.share = keptPromptShare;
    this.#registry = telemetry.metrics;
    this.pins = new KvPins({
      prompts: () => engine.prompts,
      blockTokens: () => engine.card.limits?.kvBlockSize ?? 0,
      maxBlocks: () => Math.floor(Number(engine.card.limits?.kvBlocks ?? 0n) * keptPromptShare),
      maxPins: maxKeptPrompts,
      maxSeconds: maxKeepSeconds,
      metrics: () => this.#metrics,
      log: telemetry.log,
      nowMs: () => performance.now(),
    });
  }

  measure(model: string): void {
    const counter = (name: string, help: string, label: string) =>
      counterOf(this.#registry, `stator_worker_kept_prompts${name}`, help, ['model', label]);
    const kept = counterOf(this.#registry, 'stator_worker_kept_prompts_total', 'Prompts that were kept.', ['model']);
    const refused = counter('_refused_total', 'Prompts that were not kept although that was asked, by reason.', 'why');
    const ended = counter('_ended_total', 'Prompts that are not kept any more, by how that ended.', 'how');
    const { pins } = this;
    follow(this.#registry, 'stator_worker_kept_prompts', 'Prompts that are kept.', model, () => pins.pins);
    follow(this.#registry, 'stator_worker_kept_blocks', 'Blocks of kept prompts.', model, () => pins.blocks);
    this.#metrics = {
      kept: () => kept.inc({ model }),
      refused: (why) => refused.inc({ model, why }),
      ended: (how) => ended.inc({ model, how }),
    };
  }
}

/** An engine whose kept prompts go when its whole cache goes. Its card says whether it keeps any. */
export class KeepingEngine extends EngineAround {
  readonly #kept: KeptPrompts;

  constructor(inner: Engine, kept: KeptPrompts) {
    super(inner);
    this.#kept = kept;
    const { sleep } = this;
    if (sleep === undefined) return;
    this.sleep = (level) => {
      kept.pins.cleared();
      return sleep(level);
    };
  }

  override async start(
    listener: EngineListener,
    options: { signal: AbortSignal; onProgress?(fraction: number): void },
  ): Promise<void> {
    await super.start(listener, options);
    const { card, prompts } = this;
    if (prompts === undefined || this.#kept.share === 0) return;
    if (card.capabilities !== undefined) card.capabilities.keepsPrompts = true;
    this.#kept.measure(card.name);
  }

  override clearCache(): Promise<number> {
    this.#kept.pins.cleared();
    return super.clearCache();
  }

  override async stop(): Promise<void> {
    this.#kept.pins.close();
    await super.stop();
  }
}
