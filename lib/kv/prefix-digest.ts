import { createHash } from 'node:crypto';

/** Bytes of a digest. */
export const digestBytes = 16;

/**
 * Digests of the prefixes that end with each full block of some tokens, 16 bytes each: SHA-256 of the digest before (zeros
 * at the start of a prompt) and the block's token ids as 32-bit little-endian words, cut to 128 bits. What else decides
 * the bytes of a block (model, adapter, tenant, layout) is the namespace's part and not in here.
 */
export function prefixDigests(tokenIds: Uint32Array, blockTokens: number): Uint8Array {
  const blocks = Math.floor(tokenIds.length / blockTokens);
  const words = littleEndian(tokenIds);
  const digests = new Uint8Array(blocks * digestBytes);
  const blockBytes = 4 * blockTokens;
  let before: Uint8Array = new Uint8Array(digestBytes);
  for (let block = 0; block < blocks; block++) {
    const tokens = words.subarray(block * blockBytes, (block + 1) * blockBytes);
    before = createHash('sha256').update(before).update(tokens).digest().subarray(0, digestBytes);
    digests.set(before, block * digestBytes);
  }
  return digests;
}

const isLittleEndian = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1;

function littleEndian(words: Uint32Array): Uint8Array {
  if (isLittleEndian) return new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
  const view = new DataView(new ArrayBuffer(words.byteLength));
  for (const [index, word] of words.entries()) view.setUint32(4 * index, word, true);
  return new Uint8Array(view.buffer);
}
