import { xxh3 } from './xxh3.ts';

/** Hashes of the full blocks of a prompt; the partial block at its end has none. */
export interface BlockHashes {
  readonly localHashes: BigUint64Array;
  readonly sequenceHashes: BigUint64Array;
}

/** Hashes blocks; the native one has this shape too. */
export type HashBlocks = (
  tokenIds: Uint32Array,
  blockSize: number,
  o: { readonly cacheSalt: string; readonly adapter: string },
) => BlockHashes;

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
  /** Seed of the local hashes: `blockHashSeed`. */
  readonly seed: bigint;
  /** Sequence hash of the block before the first; null starts a prompt. */
  readonly parent: bigint | null;
  /** Eagle and MTP: a block's hash also covers the token after it, so a prompt needs one token more than its blocks. */
  readonly eagle: boolean;
  readonly media: BlockMedia | null;
  /** The universal form, instead of `media`. */
  readonly runs: MediaRuns | null;
}

/** Hashes a chain of any shape; the native one has this shape too. */
export type HashChain = (tokenIds: Uint32Array, blockSize: number, shape: ChainShape) => BlockHashes;

/** Seed of unsalted local hashes, and of every chain. */
const baseSeed = 1337n;

/**
 * Block hashes in plain TypeScript, equal to the native ones (and to Dynamo's): the oracle of tests, and what runs where
 * no addon can. Throws RangeError for a block size below 1.
 */
export const hashBlocksInScript: HashBlocks = (tokenIds, blockSize, o) =>
  hashChainInScript(tokenIds, blockSize, {
    seed: blockHashSeed(o.adapter, o.cacheSalt),
    parent: null,
    eagle: false,
    media: null,
    runs: null,
  });

/** The same for a chain of any shape. Throws RangeError where the native one does. */
export const hashChainInScript: HashChain = (tokenIds, blockSize, shape) => {
  if (!(blockSize >= 1)) throw new RangeError('blockSize must be at least 1');
  const { seed, eagle, media } = shape;
  const runs = sortedRuns(shape, tokenIds.length);
  const window = blockSize + (eagle ? 1 : 0);
  const count = Math.max(0, Math.floor((tokenIds.length - (eagle ? 1 : 0)) / blockSize));
  const localHashes = new BigUint64Array(count);
  const sequenceHashes = new BigUint64Array(count);
  let { parent } = shape;
  for (let i = 0; i < count; i++) {
    const start = i * blockSize;
    const tokens = tokenIds.subarray(start, start + window);
    const local = xxh3(blockBytes(tokens, start, hashesOfBlock(media, i), runs), seed);
    parent = parent === null ? local : xxh3(littleEndian([parent, local]), baseSeed);
    localHashes[i] = local;
    sequenceHashes[i] = parent;
  }
  return { localHashes, sequenceHashes };
};

/** Seed of local hashes. Empty is the same as absent. */
export function blockHashSeed(adapter: string, cacheSalt: string): bigint {
  return seedOfParts(nameHash(adapter, 0n), nameHash(cacheSalt, 1n));
}

/** The parts of a seed, for those who keep them: 0 where there is none. */
export function seedOfParts(adapterHash: bigint, cacheSaltHash: bigint): bigint {
  return BigInt.asUintN(64, baseSeed + adapterHash + cacheSaltHash);
}

export function adapterHash(adapter: string): bigint {
  return nameHash(adapter, 0n);
}

export function cacheSaltHash(cacheSalt: string): bigint {
  return nameHash(cacheSalt, 1n);
}

function nameHash(name: string, seed: bigint): bigint {
  return name === '' ? 0n : xxh3(new TextEncoder().encode(name), seed);
}

interface Run {
  readonly offset: number;
  readonly end: number;
  readonly hash: bigint;
}

function sortedRuns({ runs, media, eagle }: ChainShape, tokens: number): Run[] {
  if (runs === null || runs.hashes.length === 0) return [];
  if (eagle || (media !== null && media.hashes.length > 0))
    throw new RangeError('runs of media go with neither media of blocks nor Eagle windows');
  const sorted = Array.from(runs.hashes, (hash, i) => {
    const offset = runs.spans[i * 2] ?? 0;
    return { offset, end: offset + (runs.spans[i * 2 + 1] ?? 0), hash };
  }).sort((a, b) => a.offset - b.offset);
  let before = 0;
  for (const run of sorted) {
    if (run.end === run.offset) throw new RangeError('a run of media must not be empty');
    if (run.end > tokens) throw new RangeError('a run of media goes beyond the prompt');
    if (run.offset < before) throw new RangeError('runs of media overlap');
    before = run.end;
  }
  return sorted;
}

function hashesOfBlock(media: BlockMedia | null, block: number): BigUint64Array {
  if (media === null) return new BigUint64Array(0);
  return media.hashes.filter((_, i) => media.blocks[i] === block).sort();
}

/** What a block's local hash is of: its tokens and media hashes, or 13 bytes for each place where runs touch it. */
function blockBytes(tokens: Uint32Array, start: number, media: BigUint64Array, runs: readonly Run[]): Uint8Array {
  const touching = runs.filter((run) => run.offset < start + tokens.length && run.end > start);
  if (touching.length > 0) return frames(tokens, start, touching);
  const bytes = new Uint8Array(tokens.length * 4 + media.length * 8);
  const view = new DataView(bytes.buffer);
  tokens.forEach((id, i) => {
    view.setUint32(i * 4, id, true);
  });
  media.forEach((hash, i) => {
    view.setBigUint64(tokens.length * 4 + i * 8, hash, true);
  });
  return bytes;
}

function frames(tokens: Uint32Array, start: number, runs: readonly Run[]): Uint8Array {
  const bytes = new Uint8Array(tokens.length * 13);
  const view = new DataView(bytes.buffer);
  tokens.forEach((id, i) => {
    const at = start + i;
    const run = runs.find((r) => r.offset <= at && at < r.end);
    view.setUint8(i * 13, run === undefined ? 0 : 1);
    view.setUint32(i * 13 + 1, run === undefined ? id : at - run.offset, true);
    view.setBigUint64(i * 13 + 5, run?.hash ?? 0n, true);
  });
  return bytes;
}

function littleEndian(words: readonly bigint[]): Uint8Array {
  const bytes = new Uint8Array(words.length * 8);
  const view = new DataView(bytes.buffer);
  words.forEach((word, i) => {
    view.setBigUint64(i * 8, word, true);
  });
  return bytes;
}
