/** Late by more than this, and by more than ten passes: the machine cannot keep up, and the debt is forgotten. */
const leastDebtMs = 50;

/**
 * Keeps the passes of one rank in real time with one timer. A pass begins where the one before it ended, not when the
 * timer fired: single passes are late by up to a millisecond, their rate is exact.
 */
export class PassTimer {
  readonly #turn: (nowMs: number) => void;
  #timer: NodeJS.Timeout | undefined;
  #immediate: NodeJS.Immediate | undefined;
  #dueMs = 0;
  #stopped = false;

  constructor(turn: (nowMs: number) => void) {
    this.#turn = turn;
  }

  get armed(): boolean {
    return this.#timer !== undefined || this.#immediate !== undefined;
  }

  /** The next turn is due then; at once if that has passed, other events getting theirs first. */
  arm(dueMs: number, durationMs = 0): void {
    if (this.#stopped) return;
    this.#clear();
    const now = performance.now();
    this.#dueMs = now - dueMs > Math.max(leastDebtMs, 10 * durationMs) ? now : dueMs;
    const delayMs = this.#dueMs - now;
    if (delayMs <= 0) this.#immediate = setImmediate(() => this.#run());
    else this.#timer = setTimeout(() => this.#run(), Math.ceil(delayMs));
  }

  stop(): void {
    this.#stopped = true;
    this.#clear();
  }

  #run(): void {
    this.#timer = undefined;
    this.#immediate = undefined;
    this.#turn(this.#dueMs);
  }

  #clear(): void {
    clearTimeout(this.#timer);
    clearImmediate(this.#immediate);
    this.#timer = undefined;
    this.#immediate = undefined;
  }
}
