import { addonOf } from '../load-addon.ts';
import type { Binding } from './binding.d.ts';

/** Hashes of the full blocks of a prompt; the partial block at its end has none. */
export interface BlockHashes {
  /** Hash of each block's own tokens, salted. */
  readonly localHashes: BigUint64Array;
  /** Hash of each block and everything before it. */
  readonly sequenceHashes: BigUint64Array;
}

export interface BlockHashOptions {
  /** Keeps the caches of different tenants apart. Empty: none. */
  readonly cacheSalt: string;
  /** Adapter name. Empty: none. */
  readonly adapter: string;
}

/** Media objects that lie in blocks, in any order: each one's hash follows its block's tokens, sorted. */
export interface BlockMedia {
  readonly blocks: Uint32Array;
  readonly hashes: BigUint64Array;
}

/** Runs of placeholder tokens of media objects: two numbers, offset in the prompt and length, for each hash. */
export interface MediaRuns {
  readonly spans: Uint32Array;
  readonly hashes: BigUint64Array;
}

/** How a chain of blocks begins, is cut, and what enters beside tokens. */
export interface ChainShape {
  /** Seed of the local hashes: 1337 plus the hashes of adapter name and cache salt. */
  readonly seed: bigint;
  /** Sequence hash of the block before the first; null starts a prompt. */
  readonly parent: bigint | null;
  /** Eagle and MTP: a block's hash also covers the token after it, so a prompt needs one token more than its blocks. */
  readonly eagle: boolean;
  readonly media: BlockMedia | null;
  /** The universal form, instead of `media`. */
  readonly runs: MediaRuns | null;
}

const noNumbers = new Uint32Array(0);
const noHashes = new BigUint64Array(0);

const binding = addonOf<Binding>('tokens');

/**
 * Hashes a prompt's full blocks as Dynamo does (XXH3-64, seed 1337, chained), so that indexes and events agree.
 * Throws RangeError for a block size below 1.
 */
export function hashBlocks(tokenIds: Uint32Array, blockSize: number, o: BlockHashOptions): BlockHashes {
  const count = blockSize >= 1 ? Math.floor(tokenIds.length / blockSize) : 0;
  const at = reserve(count * 2);
  const hashes = count * 2 > slabShare ? new BigUint64Array(count * 2) : slab;
  const { cacheSalt, adapter } = o;
  if (cacheSalt === '' && adapter === '') binding().hashBlocks(tokenIds, blockSize, hashes, at);
  else binding().hashBlocks(tokenIds, blockSize, hashes, at, cacheSalt, adapter);
  const middle = at + count;
  return { localHashes: hashes.subarray(at, middle), sequenceHashes: hashes.subarray(middle, middle + count) };
}

/** Hashes in a shared buffer, and in an array that still comes out of one. Small, because one array keeps its whole buffer. */
const slabLength = 1024;
const slabShare = 256;
let slab = new BigUint64Array(0);
let slabUsed = 0;

/** Where hashes may be written: buffers are dear to make, so that short prompts share one. A long one has its own, from 0. */
function reserve(length: number): number {
  if (length > slabShare) return 0;
  if (slabUsed + length > slab.length) {
    slab = new BigUint64Array(slabLength);
    slabUsed = 0;
  }
  const at = slabUsed;
  slabUsed += length;
  return at;
}

/**
 * Hashes a chain of full blocks of any shape. Throws RangeError for a block size below 1, and for runs of media that are
 * empty, overlap, leave the prompt, or come with `media` or Eagle windows.
 */
export function hashChain(tokenIds: Uint32Array, blockSize: number, shape: ChainShape): BlockHashes {
  const { seed, eagle, parent, media, runs } = shape;
  const hashes = binding().hashChain(
    tokenIds,
    blockSize,
    seed,
    eagle,
    parent,
    media?.blocks ?? noNumbers,
    media?.hashes ?? noHashes,
    runs?.spans ?? noNumbers,
    runs?.hashes ?? noHashes,
  );
  const count = hashes.length / 2;
  return { localHashes: hashes.subarray(0, count), sequenceHashes: hashes.subarray(count) };
}

/** XXH3-64 of bytes under a seed. */
export function xxh3(bytes: Uint8Array, seed = 0n): bigint {
  return binding().xxh3(bytes, seed);
}
