import { StatorError } from '#lib/errors/errors.ts';
import type { TokenizerContext } from '../context.ts';

/** Counts a request by its result. */
export async function handle<T>(context: TokenizerContext, method: string, run: () => Promise<T>): Promise<T> {
  try {
    const response = await run();
    context.metrics.requests.inc({ method, result: 'ok' });
    return response;
  } catch (thrown) {
    context.metrics.requests.inc({ method, result: StatorError.from(thrown).code });
    throw thrown;
  }
}
