/**
 * Columns of 64-bit hashes as contracts carry them: 8 bytes each, little-endian. Every machine that we build for is
 * little-endian, so a view is enough.
 */
export function packHashes(hashes: BigUint64Array): Uint8Array {
  return new Uint8Array(hashes.buffer, hashes.byteOffset, hashes.byteLength);
}

/** Throws RangeError for a length that is no multiple of 8. A view where the bytes are aligned, otherwise a copy. */
export function unpackHashes(packed: Uint8Array): BigUint64Array {
  if (packed.length % 8 !== 0) throw new RangeError(`${packed.length} bytes are no column of 64-bit hashes`);
  const aligned = packed.byteOffset % 8 === 0 ? packed : packed.slice();
  return new BigUint64Array(aligned.buffer, aligned.byteOffset, aligned.length / 8);
}

/** Number of hashes in a packed column. */
export function hashCount(packed: Uint8Array): number {
  return packed.length / 8;
}
