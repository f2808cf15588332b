// One-to-one mirror of what src/addon.cc exports.

export interface Binding {
  /** Local hashes of the full blocks, then their sequence hashes. */
  hashBlocks(tokenIds: Uint32Array, blockSize: number, cacheSalt: string, adapter: string): BigUint64Array;
  xxh3(bytes: Uint8Array, seed: bigint): bigint;
}
