import type { Readable } from 'node:stream';

/** Thrown where an answer holds other than the promised number of bytes. */
export class WrongLength extends Error {
  override readonly name = 'WrongLength';
}

/** Copies a stream of exactly `target.length` bytes. Rejects with the stream's error, or WrongLength. */
export async function readInto(stream: Readable, target: Uint8Array, signal: AbortSignal): Promise<void> {
  const abort = () => stream.destroy(signal.reason);
  if (signal.aborted) abort();
  signal.addEventListener('abort', abort, { once: true });
  let filled = 0;
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      if (filled + chunk.length > target.length) throw new WrongLength(`more than ${target.length} bytes came`);
      target.set(chunk, filled);
      filled += chunk.length;
    }
  } finally {
    signal.removeEventListener('abort', abort);
  }
  if (filled < target.length) throw new WrongLength(`${filled} of ${target.length} bytes came`);
}
