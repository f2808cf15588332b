import { StatorError } from '#lib/errors/errors.ts';
import type { Running } from './addon.ts';

/** Waits until the work touches no memory any more, and cancels it when the signal is aborted. */
export async function settled<T>(running: Running<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal?.aborted) running.cancel();
  signal?.addEventListener('abort', running.cancel, { once: true });
  try {
    return await running.done;
  } finally {
    signal?.removeEventListener('abort', running.cancel);
  }
}

/** Why work was cancelled, as a StatorError. */
export function cancelledBy(signal: AbortSignal | undefined): StatorError {
  const reason: unknown = signal?.reason;
  if (reason instanceof StatorError) return reason;
  return new StatorError('cancelled', 'The work on memory was cancelled.', { cause: reason });
}
