/** setTimeout counts no further. */
const longestTimeoutMs = 2 ** 31 - 1;

/** Time as it passes, since its own beginning. */
export class RealClock {
  readonly #startMs = performance.now();
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #run: (task: () => void) => void;

  /** `run` calls what is due. */
  constructor(run: (task: () => void) => void) {
    this.#run = run;
  }

  get nowMs(): number {
    return performance.now() - this.#startMs;
  }

  /** Calls that are not due yet. */
  get pending(): number {
    return this.#timers.size;
  }

  /** Calls once after a time; returns how to call it off. */
  after(ms: number, run: () => void): () => void {
    const dueMs = this.nowMs + Math.max(0, ms);
    let timer: NodeJS.Timeout;
    const wait = (): void => {
      timer = setTimeout(
        () => {
          this.#timers.delete(timer);
          if (this.nowMs < dueMs - 1) wait();
          else this.#run(run);
        },
        Math.min(longestTimeoutMs, Math.max(0, dueMs - this.nowMs)),
      );
      this.#timers.add(timer);
    };
    wait();
    return () => {
      clearTimeout(timer);
      this.#timers.delete(timer);
    };
  }

  stop(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
  }
}
