/** Calls `step` at a steady rate while there is work: one timer for a whole engine, and no drift. */
export class Pacer {
  readonly #intervalMs: number;
  readonly #step: () => boolean;
  #nextMs = 0;
  #timer: NodeJS.Timeout | undefined;
  #immediate: NodeJS.Immediate | undefined;
  #stopped = false;

  /** `step` says whether work is left. An interval of 0 is as fast as possible, other events still getting their turn. */
  constructor(intervalMs: number, step: () => boolean) {
    this.#intervalMs = intervalMs;
    this.#step = step;
  }

  /** There is work: the next step is due one interval from now, unless one is due already. */
  wake(): void {
    if (this.#stopped || this.#timer !== undefined || this.#immediate !== undefined) return;
    this.#nextMs = performance.now() + this.#intervalMs;
    this.#schedule();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    clearImmediate(this.#immediate);
  }

  #schedule(): void {
    const delayMs = this.#nextMs - performance.now();
    if (delayMs <= 0) this.#immediate = setImmediate(() => this.#run());
    else this.#timer = setTimeout(() => this.#run(), delayMs);
  }

  #run(): void {
    this.#timer = undefined;
    this.#immediate = undefined;
    const more = this.#step();
    if (!more || this.#stopped) return;
    const now = performance.now();
    this.#nextMs += this.#intervalMs;
    // Far behind means the machine cannot hold the rate: forget the debt instead of bursting.
    if (now - this.#nextMs > Math.max(50, 10 * this.#intervalMs)) this.#nextMs = now;
    this.#schedule();
  }
}
