import { setImmediate as nextTurn } from 'node:timers/promises';
import { xxh3 } from '#native/tokens/index.ts';
import type { KvSpan } from '../engine-kv.ts';

/** Bytes hashed in one turn of the event loop: a millisecond or two. */
const turnBytes = 8 * 1024 * 1024;

/** XXH3-64 of the bytes in each span. Rejects once the signal aborts. */
export async function checksumsOf(
  spans: readonly KvSpan[],
  bytes: readonly number[],
  signal: AbortSignal,
): Promise<BigUint64Array> {
  const sums = new BigUint64Array(spans.length);
  let sinceTurn = 0;
  for (const [index, { memory, offset }] of spans.entries()) {
    const length = bytes[index] ?? 0;
    sums[index] = xxh3(memory.subarray(offset, offset + length));
    sinceTurn += length;
    if (sinceTurn < turnBytes) continue;
    sinceTurn = 0;
    await nextTurn();
    signal.throwIfAborted();
  }
  return sums;
}
