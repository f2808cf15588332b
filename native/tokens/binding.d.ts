// One-to-one mirror of what src/addon.cc exports.

export interface Binding {
  /** Writes the local hashes of the full blocks, then their sequence hashes, into `hashes` from `at` on. */
  hashBlocks(
    tokenIds: Uint32Array,
    blockSize: number,
    hashes: BigUint64Array,
    at: number,
    cacheSalt?: string,
    adapter?: string,
  ): void;
  /** Local hashes of the full blocks of a chain of any shape, then their sequence hashes. Media: block and hash of each object. Runs: offset and length, then hash, of each. */
  hashChain(
    tokenIds: Uint32Array,
    blockSize: number,
    seed: bigint,
    eagle: boolean,
    parent: bigint | null,
    mediaBlocks: Uint32Array,
    mediaHashes: BigUint64Array,
    runSpans: Uint32Array,
    runHashes: BigUint64Array,
  ): BigUint64Array;
  xxh3(bytes: Uint8Array, seed: bigint): bigint;
}
