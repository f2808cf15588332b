import { binding } from './addon.ts';
import type { MemoryKind, RangeList } from './binding.d.ts';

/** Ranges of one kind of memory, packed as the addon takes them. */
export function dramRanges(ranges: readonly { readonly address: bigint; readonly bytes: number }[]): RangeList {
  return pack(
    'dram',
    ranges.map(({ address, bytes }) => [address, bytes, 0]),
  );
}

/** Memory of one GPU. */
export function vramRanges(
  gpu: number,
  ranges: readonly { readonly address: bigint; readonly bytes: number }[],
): RangeList {
  return pack(
    'vram',
    ranges.map(({ address, bytes }) => [address, bytes, gpu]),
  );
}

/** Pieces of a file. `file` is a number of the caller's choosing; `path` and `mode` only to register. */
export function fileRanges(file: number, pieces: readonly Piece[], open?: FileToOpen): RangeList {
  const list = pack(
    'file',
    pieces.map(({ offset, bytes }) => [BigInt(offset), bytes, file]),
  );
  return open === undefined ? list : { ...list, meta: pieces.map(() => `${open.mode}:${open.path}`) };
}

/** Pieces of an object. `object` is a number of the caller's choosing; `key` only to register. */
export function objectRanges(object: number, pieces: readonly Piece[], key?: string): RangeList {
  const list = pack(
    'object',
    pieces.map(({ offset, bytes }) => [BigInt(offset), bytes, object]),
  );
  return key === undefined ? list : { ...list, meta: pieces.map(() => key) };
}

export interface Piece {
  readonly offset: number;
  readonly bytes: number;
}

export interface FileToOpen {
  readonly path: string;
  /** `ro` or `rw`, with `,create`, `,direct`, `,sync` or `,noatime` where wanted. */
  readonly mode: string;
}

/** Address of a buffer's first byte. It stays valid while the buffer's memory is referenced and not transferred away. */
export function addressOf(buffer: Uint8Array): bigint {
  return binding().bufferAddress(buffer);
}

function pack(memory: MemoryKind, ranges: readonly (readonly [bigint, number, number])[]): RangeList {
  const words = new BigUint64Array(ranges.length * 3);
  for (const [index, [address, bytes, device]] of ranges.entries()) {
    words[index * 3] = address;
    words[index * 3 + 1] = BigInt(bytes);
    words[index * 3 + 2] = BigInt(device);
  }
  return { memory, ranges: words, meta: null };
}
