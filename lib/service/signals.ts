import type { Logger } from 'pino';
import { exitCodes, guardExit } from './exit.ts';

/** Beyond the grace that running requests get, for closing sockets and flushing spans. */
const FORCED_EXIT_MS = 10_000;

/**
 * Aborts `stop` at the first SIGINT or SIGTERM, or when a supervising parent process is gone; a second signal ends the
 * process at once with 128 + its number. Resolves at the first one with the exit code of a process that the signal ends.
 */
export function stopOnSignal(stop: AbortController, log: Logger, graceMs: number): Promise<number> {
  return new Promise((resolve) => {
    let asked = false;
    const begin = (reason: string, code: number): void => {
      log.info({ reason }, 'stopping; a second signal ends at once');
      guardExit(graceMs + FORCED_EXIT_MS);
      stop.abort();
      resolve(code);
    };
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.on(signal, () => {
        const code = signal === 'SIGINT' ? exitCodes.interrupted : exitCodes.terminated;
        // The user asked twice: whatever still drains is given up.
        if (asked) process.exit(code);
        asked = true;
        begin(signal, code);
      });
    }
    if (process.channel !== undefined) {
      process.once('disconnect', () => begin('the supervising process is gone', exitCodes.terminated));
      // The listener alone would keep a finished process alive.
      process.channel?.unref();
    }
  });
}

/** After everything is closed, leaked handles get a moment and then no more. */
export function guardEnd(): void {
  guardExit(FORCED_EXIT_MS);
}
