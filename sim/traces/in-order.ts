import { IndexedHeap } from '#core/scheduling/indexed-heap.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { TraceRequest } from './trace-request.ts';

interface Waiting<T> {
  readonly request: T;
  readonly atMs: number;
  readonly order: number;
}

/**
 * Requests by arrival, where they are at most `window` rows out of place; beyond that throws `invalid_argument`. One without
 * an arrival keeps its place behind the row before it. Holds `window` requests.
 */
export async function* inOrder<T extends TraceRequest>(
  file: string,
  requests: AsyncIterable<T>,
  window = 65_536,
): AsyncGenerator<T> {
  const waiting = new IndexedHeap<Waiting<T>>((a, b) => a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order));
  let order = 0;
  let before = -Infinity;
  let given = -Infinity;
  for await (const request of requests) {
    const atMs = request.arrivalMs ?? before;
    before = atMs;
    if (atMs < given)
      throw StatorError.invalid(
        'timestamp',
        `${file}, line ${request.line}: arrives ${given - atMs} ms before a request that is more than ${window} rows ` +
          'ahead of it. Sort the trace by time.',
      );
    waiting.push({ request, atMs, order: order++ });
    if (waiting.size <= window) continue;
    const next = waiting.pop();
    if (next === undefined) continue;
    given = next.atMs;
    yield next.request;
  }
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) yield next.request;
}
