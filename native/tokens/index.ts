import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
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

let loaded: Binding | undefined;

function binding(): Binding {
  if (loaded !== undefined) return loaded;
  const file = new URL('./build/Release/tokens.node', import.meta.url);
  try {
    const addon: Binding = createRequire(import.meta.url)(fileURLToPath(file));
    loaded = addon;
    return addon;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`The tokens addon cannot be loaded: ${reason} Build it with: npm run native.`, { cause });
  }
}

/**
 * Hashes a prompt's full blocks as Dynamo does (XXH3-64, seed 1337, chained), so that indexes and events agree.
 * Throws RangeError for a block size below 1.
 */
export function hashBlocks(tokenIds: Uint32Array, blockSize: number, o: BlockHashOptions): BlockHashes {
  const hashes = binding().hashBlocks(tokenIds, blockSize, o.cacheSalt, o.adapter);
  const count = hashes.length / 2;
  return { localHashes: hashes.subarray(0, count), sequenceHashes: hashes.subarray(count) };
}

/** XXH3-64 of bytes under a seed. */
export function xxh3(bytes: Uint8Array, seed = 0n): bigint {
  return binding().xxh3(bytes, seed);
}
