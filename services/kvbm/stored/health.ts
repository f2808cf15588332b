import type { Logger } from 'pino';
import { StatorError } from '#lib/errors/errors.ts';
import { Breaker, type BreakerSettings } from './breaker.ts';
import type { StoredMetrics } from './metrics.ts';

export interface HealthParts {
  readonly tier: 'disk' | 'object';
  readonly metrics: StoredMetrics;
  readonly nowMs: () => number;
  readonly log: Logger;
  readonly breaker?: Partial<BreakerSettings> | undefined;
}

export type Direction = 'in' | 'out';

/** What a failure says of the tier; `certain`: one is enough. Null: nothing. */
export type Verdict = { readonly reason: string; readonly certain: boolean } | null;

/** Whether reads and writes of a tier work, each with a breaker of its own: a full or read-only disk still reads. */
export class TierHealth {
  readonly #parts: HealthParts;
  readonly #breakers: Readonly<Record<Direction, Breaker>>;
  #reason: string | null = null;

  constructor(parts: HealthParts) {
    this.#parts = parts;
    this.#breakers = { in: new Breaker(parts.breaker), out: new Breaker(parts.breaker) };
    parts.metrics.degraded.set({ tier: parts.tier }, 0);
  }

  /** Why it does not work; null when it does. */
  get reason(): string | null {
    return this.#reason;
  }

  /** Whether trying is worth it at present. */
  mayTry(direction: Direction): boolean {
    return this.#breakers[direction].mayEnter(this.#parts.nowMs());
  }

  /**
   * Runs a read or write, measures it and learns from it whether the tier works. Throws `storage_unavailable` at once while
   * it does not, else what the work threw.
   */
  async run<T>(direction: Direction, work: () => Promise<T>, verdictOf: (thrown: unknown) => Verdict): Promise<T> {
    const { tier, metrics, nowMs } = this.#parts;
    const breaker = this.#breakers[direction];
    if (!breaker.enter(nowMs()))
      throw new StatorError('storage_unavailable', `the ${tier} tier is degraded: ${breaker.reason}`);
    const fromMs = nowMs();
    try {
      const result = await work();
      breaker.succeeded();
      this.#tell();
      return result;
    } catch (thrown) {
      this.#failed(direction, verdictOf(thrown));
      throw thrown;
    } finally {
      metrics.seconds.observe({ tier, direction }, (nowMs() - fromMs) / 1000);
    }
  }

  #failed(direction: Direction, verdict: Verdict): void {
    const { metrics, tier, nowMs } = this.#parts;
    if (verdict === null) {
      this.#breakers[direction].unknown();
      return;
    }
    metrics.failures.inc({ tier, direction, reason: verdict.reason });
    this.#breakers[direction].failed(verdict.reason, nowMs(), verdict.certain);
    this.#tell();
  }

  #tell(): void {
    const { in: reading, out: writing } = this.#breakers;
    const reads = reading.reason === undefined ? [] : [`reads: ${reading.reason}`];
    const writes = writing.reason === undefined ? [] : [`writes: ${writing.reason}`];
    const reason = [...reads, ...writes].join(', ') || null;
    if (reason === this.#reason) return;
    this.#reason = reason;
    this.#parts.metrics.degraded.set({ tier: this.#parts.tier }, reason === null ? 0 : 1);
    const { log, tier } = this.#parts;
    if (reason === null) log.info(`the ${tier} tier works again`);
    else log.warn({ reason }, `the ${tier} tier is degraded`);
  }
}
