import { StatorError } from '#lib/errors/errors.ts';
import { exitCodeOf, exitCodes } from '#lib/service/exit.ts';

/** Runs a command that is no service: the first Ctrl-C aborts it, errors become one line and an exit code. */
export async function runInterruptible(name: string, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const abort = new AbortController();
  let interruptCode: number | undefined;
  const listeners = (['SIGINT', 'SIGTERM'] as const).map((signal) => {
    const listener = (): void => {
      // Asked twice: end now, whatever hangs. The default action of the signal does it.
      for (const [other, stop] of listeners) process.off(other, stop);
      interruptCode = signal === 'SIGINT' ? exitCodes.interrupted : exitCodes.terminated;
      abort.abort();
    };
    process.on(signal, listener);
    return [signal, listener] as const;
  });
  try {
    await work(abort.signal);
  } catch (thrown) {
    if (interruptCode === undefined) {
      const error = StatorError.from(thrown);
      process.stderr.write(`stator ${name}: ${error.message}\n`);
      process.exitCode = exitCodeOf(error);
    }
  } finally {
    for (const [signal, listener] of listeners) process.off(signal, listener);
    if (interruptCode !== undefined) process.exitCode = interruptCode;
  }
}
