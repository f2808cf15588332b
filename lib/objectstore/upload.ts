import { crc32 } from 'node:zlib';

export interface PartUpload {
  readonly partBytes: number;
  readonly concurrency: number;
  readonly signal: AbortSignal;
  send(number: number, bytes: Uint8Array): Promise<void>;
}

/**
 * Cuts a stream into parts and sends so many at once; memory is `concurrency + 1` parts. An empty stream is one empty part.
 * After a failure the source is returned and all parts have ended.
 */
export async function uploadParts(
  source: AsyncIterable<Uint8Array>,
  o: PartUpload,
): Promise<{ size: number; checksum: number }> {
  const running = new Set<Promise<void>>();
  let failure: { reason: unknown } | undefined;
  let size = 0;
  let checksum = 0;
  let number = 0;
  try {
    for await (const part of partsOf(source, o.partBytes, o.signal)) {
      size += part.length;
      checksum = crc32(part, checksum);
      number += 1;
      const sending: Promise<void> = o
        .send(number, part)
        .catch((reason: unknown) => {
          failure ??= { reason };
        })
        .finally(() => running.delete(sending));
      running.add(sending);
      if (running.size >= o.concurrency) await Promise.race(running);
      if (failure !== undefined) break;
    }
  } finally {
    await Promise.all(running);
  }
  if (failure !== undefined) throw failure.reason;
  return { size, checksum };
}

async function* partsOf(
  source: AsyncIterable<Uint8Array>,
  partBytes: number,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  let part = Buffer.allocUnsafeSlow(partBytes);
  let filled = 0;
  let sent = false;
  for await (const chunk of abortable(source, signal)) {
    for (let at = 0; at < chunk.length; ) {
      const bytes = Math.min(chunk.length - at, partBytes - filled);
      part.set(chunk.subarray(at, at + bytes), filled);
      at += bytes;
      filled += bytes;
      if (filled < partBytes) continue;
      yield part;
      sent = true;
      part = Buffer.allocUnsafeSlow(partBytes);
      filled = 0;
    }
  }
  if (filled > 0 || !sent) yield part.subarray(0, filled);
}

/** Ends with the signal's reason also while the source gives nothing; the source is then told to return, and not waited for. */
async function* abortable<T>(source: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T> {
  const iterator = source[Symbol.asyncIterator]();
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  aborted.catch(() => undefined);
  const abort = () => reject(signal.reason);
  if (signal.aborted) abort();
  signal.addEventListener('abort', abort, { once: true });
  let done = false;
  try {
    for (;;) {
      const next = await Promise.race([iterator.next(), aborted]);
      done = next.done === true;
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    signal.removeEventListener('abort', abort);
    if (!done) void iterator.return?.().catch(() => undefined);
  }
}
