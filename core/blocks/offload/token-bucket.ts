/**
 * A limit of bytes per second with bursts. What is taken may exceed what is there: the debt is waited for before the
 * next, so that a batch larger than the burst passes too. Time comes from the caller, in milliseconds.
 */
export class TokenBucket {
  readonly #bytesPerMs: number;
  readonly #burstBytes: number;
  #level: number;
  #atMs: number;

  /** Throws RangeError for a rate or burst that is not positive. Infinity: no limit. */
  constructor(bytesPerSecond: number, burstBytes: number, nowMs: number) {
    if (!(bytesPerSecond > 0)) throw new RangeError(`bytesPerSecond ${bytesPerSecond} is not positive`);
    if (!(burstBytes > 0)) throw new RangeError(`burstBytes ${burstBytes} is not positive`);
    this.#bytesPerMs = bytesPerSecond / 1000;
    this.#burstBytes = burstBytes;
    this.#level = burstBytes;
    this.#atMs = nowMs;
  }

  /** Milliseconds until something may be taken; 0 for now. */
  delayMs(nowMs: number): number {
    this.#refill(nowMs);
    return this.#level >= 0 ? 0 : -this.#level / this.#bytesPerMs;
  }

  /** Takes that many bytes. Only when `delayMs` is 0. */
  take(bytes: number, nowMs: number): void {
    this.#refill(nowMs);
    if (this.#bytesPerMs !== Number.POSITIVE_INFINITY) this.#level -= bytes;
  }

  /** A clock that goes back gives nothing and takes nothing. */
  #refill(nowMs: number): void {
    const elapsedMs = nowMs - this.#atMs;
    if (elapsedMs <= 0) return;
    this.#atMs = nowMs;
    this.#level = Math.min(this.#burstBytes, this.#level + elapsedMs * this.#bytesPerMs);
  }
}
