import { StatorError } from '#lib/errors/errors.ts';

/** What bounds a request that is computed as a whole. */
interface Bounds {
  /** Unix milliseconds by which the client wants its answer; 0: whenever. */
  readonly deadlineUnixMs: number;
  /** Milliseconds that any request may take; 0: no limit. */
  readonly limitMs: number;
  readonly signal: AbortSignal;
}

/** Does work with a signal that also ends it when its time is up; throws `deadline_exceeded` then. */
export async function inTime<T>(
  { deadlineUnixMs, limitMs, signal }: Bounds,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const times = [limitMs === 0 ? [] : limitMs, deadlineUnixMs === 0 ? [] : deadlineUnixMs - Date.now()].flat();
  if (times.length === 0) return work(signal);
  const leftMs = Math.max(0, Math.min(...times));
  const late = new AbortController();
  const timer = setTimeout(() => {
    late.abort(new StatorError('deadline_exceeded', `The request took longer than ${leftMs / 1000} s.`));
  }, leftMs);
  try {
    return await work(AbortSignal.any([signal, late.signal]));
  } catch (thrown) {
    // Whatever failed then failed because of that.
    throw late.signal.aborted && !signal.aborted ? late.signal.reason : thrown;
  } finally {
    clearTimeout(timer);
  }
}
