import { crc32 } from 'node:zlib';
import { StatorError } from '#lib/errors/errors.ts';
import type { CallOptions, Got, ObjectInfo, ObjectStore } from './store.ts';

export interface DownloadOptions extends CallOptions {
  readonly partBytes: number;
  /** Parts asked for before they are wanted; so many and one more are held in memory. */
  readonly ahead: number;
}

/**
 * The content of an object in order, in parts that are fetched and retried by themselves. The deadline is for each part: a
 * reader may take its time. Throws `conflict` when the object is replaced meanwhile, and `checksum_mismatch` at the end.
 */
export async function* download(
  store: Pick<ObjectStore, 'head' | 'get'>,
  key: string,
  { partBytes, ahead, ...call }: DownloadOptions,
): AsyncGenerator<Uint8Array, ObjectInfo> {
  const info = await store.head(key, call);
  const stop = new AbortController();
  const signal = call.signal === undefined ? stop.signal : AbortSignal.any([call.signal, stop.signal]);
  const parts: Promise<Got>[] = [];
  let asked = 0;
  const ask = (): void => {
    const length = Math.min(partBytes, info.size - asked);
    const part = store.get(key, { ...call, signal, range: { offset: asked, length } });
    // Its failure counts when its turn comes.
    part.catch(() => undefined);
    parts.push(part);
    asked += length;
  };
  try {
    let checksum = 0;
    for (let at = 0; at < info.size; ) {
      while (asked < info.size && parts.length <= ahead) ask();
      const got = await parts.shift();
      if (got === undefined) break;
      if (got.info.etag !== info.etag)
        throw new StatorError('conflict', `object ${key} was replaced while it was read`);
      checksum = crc32(got.bytes, checksum);
      at += got.bytes.length;
      yield got.bytes;
    }
    if (info.crc32 !== undefined && info.crc32 !== checksum)
      throw new StatorError('checksum_mismatch', `object ${key} does not have the checksum that it was written with`);
    return info;
  } finally {
    stop.abort(new StatorError('cancelled', 'the rest of the object is not wanted'));
    await Promise.allSettled(parts);
  }
}
