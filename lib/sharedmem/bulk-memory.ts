import type { MemoryAddon } from './addon.ts';
import { cancelledBy, settled } from './settled.ts';

/** Bytes of a buffer. */
export interface ByteRange {
  readonly offset: number;
  readonly bytes: number;
}

/** Bytes to copy from one buffer to another, or to another place in the same. */
export interface CopyPiece {
  readonly from: Uint8Array;
  readonly fromOffset: number;
  readonly to: Uint8Array;
  readonly toOffset: number;
  readonly bytes: number;
}

export interface BulkOptions {
  readonly signal?: AbortSignal;
  /** Threads at most; default 2. More than one is used from a megabyte up. */
  readonly threads?: number;
}

const kinds = { copy: 0, checksum: 1, copyAndChecksum: 2 } as const;
const WORDS = 5;
const DEFAULT_THREADS = 2;

/**
 * Copies and hashes local memory in bulk on threads of its own; the event loop only lists the pieces. Promises settle when
 * nothing touches the memory any more, also when they reject with `cancelled`. Ranges written must not overlap others.
 * A list with a range outside of its buffer is refused as a whole with a RangeError.
 */
export class BulkMemory {
  readonly #addon: MemoryAddon;

  constructor(addon: MemoryAddon) {
    this.#addon = addon;
  }

  /** XXH3-64, seed 0, of each range. */
  checksums(buffer: Uint8Array, ranges: readonly ByteRange[], options: BulkOptions = {}): Promise<BigUint64Array> {
    const words = new Float64Array(ranges.length * WORDS);
    for (const [index, { offset, bytes }] of ranges.entries()) {
      words[index * WORDS + 1] = offset;
      words[index * WORDS + 4] = bytes;
    }
    return this.#run(kinds.checksum, [buffer], words, options);
  }

  async copy(pieces: readonly CopyPiece[], options: BulkOptions = {}): Promise<void> {
    await this.#pieces(kinds.copy, pieces, options);
  }

  /** Copies each piece and gives the XXH3-64, seed 0, of what arrived, in one pass over memory. */
  copyAndChecksum(pieces: readonly CopyPiece[], options: BulkOptions = {}): Promise<BigUint64Array> {
    return this.#pieces(kinds.copyAndChecksum, pieces, options);
  }

  #pieces(kind: number, pieces: readonly CopyPiece[], options: BulkOptions): Promise<BigUint64Array> {
    const buffers: Uint8Array[] = [];
    const places = new Map<Uint8Array, number>();
    const placeOf = (buffer: Uint8Array): number => {
      const known = places.get(buffer);
      if (known !== undefined) return known;
      places.set(buffer, buffers.length);
      return buffers.push(buffer) - 1;
    };
    const words = new Float64Array(pieces.length * WORDS);
    for (const [index, { from, fromOffset, to, toOffset, bytes }] of pieces.entries())
      words.set([placeOf(from), fromOffset, placeOf(to), toOffset, bytes], index * WORDS);
    return this.#run(kind, buffers, words, options);
  }

  async #run(
    kind: number,
    buffers: readonly Uint8Array[],
    words: Float64Array,
    { signal, threads = DEFAULT_THREADS }: BulkOptions,
  ): Promise<BigUint64Array> {
    if (signal?.aborted) throw cancelledBy(signal);
    const found = await settled(this.#addon.bulk(kind, buffers, words, threads), signal);
    if (found === null) throw cancelledBy(signal);
    return found;
  }
}
