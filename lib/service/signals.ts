import type { Logger } from 'pino';
import { exitCodes, guardExit } from './exit.ts';

/** Beyond the grace that running requests get, for closing sockets and flushing spans. */
const FORCED_EXIT_MS = 10_000;

/**
 * Aborts `stop` at the first SIGINT or SIGTERM, or when a supervising parent process is gone; a second signal ends the
 * process at once with 128 + its number. Resolves at the first one.
 */
export function stopOnSignal(stop: AbortController, log: Logger, graceMs: number): Promise<void> {
  return new Promise((resolve) => {
    const begin = (reason: string): void => {
      log.info({ reason }, 'stopping; a second signal ends at once');
      guardExit(graceMs + FORCED_EXIT_MS);
      stop.abort();
      resolve();
    };
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.on(signal, () => {
        // The user asked twice: whatever still drains is given up.
        if (stop.signal.aborted) process.exit(signal === 'SIGINT' ? exitCodes.interrupted : exitCodes.terminated);
        begin(signal);
      });
    }
    if (process.channel !== undefined) {
      process.once('disconnect', () => stop.signal.aborted || begin('the supervising process is gone'));
      // The listener alone would keep a finished process alive.
      process.channel?.unref();
    }
  });
}

/** After everything is closed, leaked handles get a moment and then no more. */
export function guardEnd(): void {
  guardExit(FORCED_EXIT_MS);
}
