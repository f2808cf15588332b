import { StatorError } from '#lib/errors/errors.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import type { EngineHost } from './host.ts';
import { selfTest } from './self-test.ts';
import type { WorkerState } from './state.ts';

export interface CanaryOptions {
  readonly hosts: readonly EngineHost[];
  readonly state: WorkerState;
  readonly telemetry: Telemetry;
  /** Milliseconds without traffic before a model is tested; 0: never. */
  readonly idleMs: number;
  readonly timeoutMs: number;
}

/** Tests idle models with one token. One that fails makes the worker unhealthy until it succeeds again. */
export class Canary {
  readonly #o: CanaryOptions;
  readonly #sick = new Set<EngineHost>();
  readonly #testing = new Set<EngineHost>();
  readonly #timer: NodeJS.Timeout | undefined;

  constructor(options: CanaryOptions) {
    this.#o = options;
    if (options.idleMs === 0) return;
    this.#timer = setInterval(() => this.#look(), Math.max(10, options.idleMs / 4));
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    if (this.#o.state.asleep) return;
    for (const host of this.#o.hosts) {
      const due = host.idleMs >= this.#o.idleMs || (this.#sick.has(host) && host.running === 0);
      if (due && !this.#testing.has(host)) void this.#test(host);
    }
  }

  async #test(host: EngineHost): Promise<void> {
    this.#testing.add(host);
    try {
      await selfTest(host, { tokens: 1, timeoutMs: this.#o.timeoutMs });
      this.#sick.delete(host);
      host.metrics.canary('ok');
    } catch (thrown) {
      const error = StatorError.from(thrown);
      // A full queue is a busy engine, not a sick one.
      if (error.code === 'overloaded') return;
      host.metrics.canary('failed');
      if (!this.#sick.has(host)) this.#o.telemetry.log.error({ err: error, model: host.card.name }, 'canary failed');
      this.#sick.add(host);
    } finally {
      this.#testing.delete(host);
      await this.#o.state.setUnhealthy(this.#sick.size > 0);
    }
  }
}
