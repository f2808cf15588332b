import type { Logger } from 'pino';
import { exitCodes, guardExit } from './exit.ts';

/** Beyond the grace that running requests get, for closing sockets and flushing spans. */
const FORCED_EXIT_MS = 10_000;
/** Ctrl-C may come twice, from the terminal and from the launcher that forwards it; nobody presses it twice that fast. */
const SAME_PRESS_MS = 250;

const signalCodes = {
  SIGINT: exitCodes.interrupted,
  SIGTERM: exitCodes.terminated,
  SIGHUP: exitCodes.hungUp,
} as const;

export type StopSignal = keyof typeof signalCodes;

/** Hears of each request to stop, with the exit code of a process that the signal ends. Returns how to stop listening. */
export function onStopSignals(listener: (signal: StopSignal, code: number) => void): () => void {
  let lastMs = Number.NEGATIVE_INFINITY;
  const hear = (signal: StopSignal): void => {
    const nowMs = performance.now();
    if (nowMs - lastMs < SAME_PRESS_MS) return;
    lastMs = nowMs;
    listener(signal, signalCodes[signal]);
  };
  const signals = Object.keys(signalCodes) as StopSignal[];
  for (const signal of signals) process.on(signal, hear);
  return () => {
    for (const signal of signals) process.off(signal, hear);
  };
}

/**
 * Aborts `stop` at the first signal, or when a supervising parent process is gone; a second signal ends the process at
 * once. Resolves at the first one with the exit code of a process that the signal ends.
 */
export function stopOnSignal(stop: AbortController, log: Logger, graceMs: number): Promise<number> {
  return new Promise((resolve) => {
    let asked = false;
    const begin = (reason: string, code: number): void => {
      asked = true;
      log.info({ reason }, 'stopping; a second signal ends at once');
      guardExit(graceMs + FORCED_EXIT_MS);
      stop.abort();
      resolve(code);
    };
    onStopSignals((signal, code) => {
      // The user asked twice: whatever still drains is given up.
      if (asked) process.exit(code);
      begin(signal, code);
    });
    if (process.channel !== undefined) {
      process.once('disconnect', () => asked || begin('the supervising process is gone', exitCodes.terminated));
      // The listener alone would keep a finished process alive.
      process.channel?.unref();
    }
  });
}

/** After everything is closed, leaked handles get a moment and then no more. */
export function guardEnd(): void {
  guardExit(FORCED_EXIT_MS);
}
