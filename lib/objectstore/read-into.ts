import type { Readable } from 'node:stream';

/** Thrown where an answer holds other than the promised number of bytes. */
export class WrongLength extends Error {
  override readonly name = 'WrongLength';
}

/**
 * Copies a stream of exactly as many bytes as the targets have together, into one after the other. Rejects with the
 * stream's error, or WrongLength.
 */
export async function readInto(stream: Readable, targets: readonly Uint8Array[], signal: AbortSignal): Promise<void> {
  const abort = () => stream.destroy(signal.reason);
  if (signal.aborted) abort();
  signal.addEventListener('abort', abort, { once: true });
  const total = targets.reduce((sum, { length }) => sum + length, 0);
  let rest = targets.filter(({ length }) => length > 0);
  let filled = 0;
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      filled += chunk.length;
      if (filled > total) throw new WrongLength(`more than ${total} bytes came`);
      rest = fill(rest, chunk);
    }
  } finally {
    signal.removeEventListener('abort', abort);
  }
  if (filled < total) throw new WrongLength(`${filled} of ${total} bytes came`);
}

/** What is left of the targets once the chunk is in them. */
function fill(targets: readonly Uint8Array[], chunk: Uint8Array): Uint8Array[] {
  let from = 0;
  return targets.flatMap((target) => {
    const part = chunk.subarray(from, from + target.length);
    target.set(part);
    from += part.length;
    return part.length === target.length ? [] : [target.subarray(part.length)];
  });
}
