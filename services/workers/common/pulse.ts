/** Wakes everyone who waits; waiting costs nothing while nothing happens. */
export class Pulse {
  readonly #waiters = new Set<(fired: boolean) => void>();

  fire(): void {
    for (const wake of [...this.#waiters]) wake(true);
  }

  /** Resolves at the next `fire`, when the signal aborts, or after `timeoutMs`; whether it was `fire`. */
  wait(signal: AbortSignal, timeoutMs?: number): Promise<boolean> {
    if (signal.aborted) return Promise.resolve(false);
    return new Promise((resolve) => {
      const done = (fired: boolean): void => {
        this.#waiters.delete(done);
        signal.removeEventListener('abort', aborted);
        clearTimeout(timer);
        resolve(fired);
      };
      const aborted = (): void => done(false);
      const timer = timeoutMs === undefined ? undefined : setTimeout(done, timeoutMs, false);
      signal.addEventListener('abort', aborted, { once: true });
      this.#waiters.add(done);
    });
  }
}
