import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createBrotliDecompress, createGunzip, createInflate, createZstdDecompress } from 'node:zlib';

const decoders = {
  gzip: createGunzip,
  'x-gzip': createGunzip,
  deflate: createInflate,
  br: createBrotliDecompress,
  zstd: createZstdDecompress,
} as const;

export type Encoding = keyof typeof decoders;

/** Whether a Content-Encoding can be undone. Several, one over the other, cannot: no client needs them, bombs do. */
export function isEncoding(name: string): name is Encoding {
  return Object.hasOwn(decoders, name);
}

/**
 * What a compressed source holds, piece by piece, never more than a piece ahead of the reader: who reads it bounds it.
 * Ends the source without destroying it when the reader stops. Throws zlib's error for data that is none.
 */
export async function* inflated(source: AsyncIterable<Uint8Array>, encoding: Encoding): AsyncGenerator<Buffer> {
  const decoder = decoders[encoding]();
  // The same failure comes out of the decoder, which is being read.
  pipeline(Readable.from(source), decoder).catch(() => {});
  try {
    for await (const chunk of decoder) yield chunk as Buffer;
  } finally {
    decoder.destroy();
  }
}
