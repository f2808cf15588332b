export interface BreakerSettings {
  /** Failures in a row after which nothing more is tried for a while. */
  readonly failures: number;
  /** The first pause; each further one is twice as long, up to the longest. */
  readonly firstPauseMs: number;
  readonly longestPauseMs: number;
}

export const breakerDefaults: BreakerSettings = { failures: 3, firstPauseMs: 500, longestPauseMs: 30_000 };

/**
 * Keeps callers from something that does not work: after some failures in a row it says no for a pause, then lets one
 * caller try. It asks for no time: callers bring it.
 */
export class Breaker {
  readonly #settings: BreakerSettings;
  #inRow = 0;
  #pauses = 0;
  #untilMs = 0;
  #isTrying = false;
  #reason: string | undefined;

  constructor(settings: Partial<BreakerSettings> = {}) {
    this.#settings = { ...breakerDefaults, ...settings };
  }

  /** Why it says no; undefined while all works. */
  get reason(): string | undefined {
    return this.#reason;
  }

  /** Whether the caller may try; who gets a yes must report how it went. */
  enter(nowMs: number): boolean {
    if (this.#reason === undefined) return true;
    if (this.#isTrying || nowMs < this.#untilMs) return false;
    this.#isTrying = true;
    return true;
  }

  /** As `enter`, without taking the one try after a pause. */
  mayEnter(nowMs: number): boolean {
    return this.#reason === undefined || (!this.#isTrying && nowMs >= this.#untilMs);
  }

  succeeded(): void {
    this.#inRow = 0;
    this.#pauses = 0;
    this.#isTrying = false;
    this.#reason = undefined;
  }

  /** `certain`: trying again soon is in vain (a full disk), so that one failure is enough. */
  failed(reason: string, nowMs: number, certain = false): void {
    this.#inRow++;
    const wasTrying = this.#isTrying;
    this.#isTrying = false;
    if (this.#reason === undefined && this.#inRow < this.#settings.failures && !certain) return;
    // Those that were under way when it opened must not lengthen the pause.
    if (this.#reason !== undefined && !wasTrying) return;
    const pauseMs = this.#settings.firstPauseMs * 2 ** this.#pauses++;
    this.#untilMs = nowMs + Math.min(this.#settings.longestPauseMs, pauseMs);
    this.#reason = reason;
  }

  /** The try ended without telling anything (cancelled). */
  unknown(): void {
    this.#isTrying = false;
  }
}
