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

/** Seed of unsalted local hashes, and of every chain. */
const blockHashSeed = 1337n;

/**
 * Block hashes in plain TypeScript, equal to the native ones (and to Dynamo's): the oracle of tests, and what runs where
 * no addon can. Throws RangeError for a block size below 1.
 */
export const hashBlocksInScript: HashBlocks = (tokenIds, blockSize, o) => {
  if (!(blockSize >= 1)) throw new RangeError('blockSize must be at least 1');
  const seed = saltedSeed(o.adapter, o.cacheSalt);
  const count = Math.floor(tokenIds.length / blockSize);
  const localHashes = new BigUint64Array(count);
  const sequenceHashes = new BigUint64Array(count);
  const bytes = littleEndian(tokenIds);
  let parent = 0n;
  for (let i = 0; i < count; i++) {
    const local = xxh3(bytes.subarray(i * blockSize * 4, (i + 1) * blockSize * 4), seed);
    parent = i === 0 ? local : xxh3(pair(parent, local), blockHashSeed);
    localHashes[i] = local;
    sequenceHashes[i] = parent;
  }
  return { localHashes, sequenceHashes };
};

function saltedSeed(adapter: string, cacheSalt: string): bigint {
  const utf8 = new TextEncoder();
  let seed = blockHashSeed;
  if (adapter !== '') seed += xxh3(utf8.encode(adapter), 0n);
  if (cacheSalt !== '') seed += xxh3(utf8.encode(cacheSalt), 1n);
  return BigInt.asUintN(64, seed);
}

function littleEndian(ids: Uint32Array): Uint8Array {
  const bytes = new Uint8Array(ids.length * 4);
  const view = new DataView(bytes.buffer);
  ids.forEach((id, i) => {
    view.setUint32(i * 4, id, true);
  });
  return bytes;
}

function pair(parent: bigint, local: bigint): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, parent, true);
  view.setBigUint64(8, local, true);
  return bytes;
}
