import { StatorError } from '#lib/errors/errors.ts';
import { exitCodeOf } from '#lib/service/exit.ts';
import { onStopSignals } from '#lib/service/signals.ts';

/** Runs a command that is no service: the first Ctrl-C aborts it, the second ends it; errors become one line and an exit code. */
export async function runInterruptible(name: string, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const abort = new AbortController();
  let interruptCode: number | undefined;
  const stopListening = onStopSignals((_signal, code) => {
    // Asked twice: end now, whatever hangs.
    if (interruptCode !== undefined) process.exit(code);
    interruptCode = code;
    abort.abort();
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
    stopListening();
    if (interruptCode !== undefined) process.exitCode = interruptCode;
  }
}
