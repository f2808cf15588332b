import { Breaker, type BreakerSettings } from './breaker.ts';
import type { StoredMetrics } from './metrics.ts';

export interface HealthParts {
  readonly tier: 'disk' | 'object';
  readonly metrics: StoredMetrics;
  readonly nowMs: () => number;
  /** Told when the tier stops working, and when it works again (null). */
  readonly changed: (reason: string | null) => void;
  readonly breaker?: Partial<BreakerSettings> | undefined;
}

export type Direction = 'in' | 'out';

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

  /** Why it does not work in a direction, unless the caller may try. Who gets undefined must tell how it went. */
  refuse(direction: Direction): string | undefined {
    const breaker = this.#breakers[direction];
    return breaker.enter(this.#parts.nowMs()) ? undefined : breaker.reason;
  }

  succeeded(direction: Direction): void {
    this.#breakers[direction].succeeded();
    this.#tell();
  }

  /** `certain`: one failure is enough. */
  failed(direction: Direction, reason: string, certain = false): void {
    const { metrics, tier, nowMs } = this.#parts;
    metrics.failures.inc({ tier, direction, reason });
    this.#breakers[direction].failed(reason, nowMs(), certain);
    this.#tell();
  }

  /** The try was ended by the caller. */
  unknown(direction: Direction): void {
    this.#breakers[direction].unknown();
  }

  #tell(): void {
    const { in: reading, out: writing } = this.#breakers;
    const reads = reading.reason === undefined ? [] : [`reads: ${reading.reason}`];
    const writes = writing.reason === undefined ? [] : [`writes: ${writing.reason}`];
    const reason = [...reads, ...writes].join(', ') || null;
    if (reason === this.#reason) return;
    this.#reason = reason;
    this.#parts.metrics.degraded.set({ tier: this.#parts.tier }, reason === null ? 0 : 1);
    this.#parts.changed(reason);
  }
}
