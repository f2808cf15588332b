import { createHash } from 'node:crypto';
import { digestBytes, prefixDigests } from '#lib/kv/prefix-digest.ts';
import type { KvPrefix } from '../common/engine-kv.ts';

/** KV of the synthetic model: the bytes of a block are a function of adapter, salt and the prefix that ends with it. */
export class KvBytes {
  readonly blockBytes: number;
  readonly #digests: Uint8Array;
  readonly #names: string;
  readonly #scratch: Buffer;
  readonly #words: Uint32Array;

  constructor(prefix: KvPrefix, blockTokens: number, blockBytes: number) {
    this.blockBytes = blockBytes;
    this.#digests = prefixDigests(prefix.tokenIds, blockTokens);
    this.#names = `${prefix.adapter}\0${prefix.cacheSalt}`;
    const words = new Uint32Array(Math.ceil(blockBytes / 4));
    this.#words = words;
    this.#scratch = Buffer.from(words.buffer, 0, blockBytes);
  }

  write(block: number, into: Uint8Array, offset: number): void {
    this.#fill(block);
    into.set(this.#scratch, offset);
  }

  matches(block: number, memory: Uint8Array, offset: number): boolean {
    this.#fill(block);
    return this.#scratch.equals(memory.subarray(offset, offset + this.blockBytes));
  }

  /** sfc32 (Chris Doty-Humphrey), seeded with the block's digest. */
  #fill(block: number): void {
    const digest = this.#digests.subarray(block * digestBytes, (block + 1) * digestBytes);
    const key = createHash('sha256').update(digest).update(this.#names).digest();
    let [a, b, c, counter] = [0, 4, 8, 12].map((at) => key.readInt32LE(at)) as [number, number, number, number];
    const words = this.#words;
    for (let i = 0; i < words.length; i++) {
      const word = (((a + b) | 0) + counter) | 0;
      counter = (counter + 1) | 0;
      a = b ^ (b >>> 9);
      b = (c + (c << 3)) | 0;
      c = (((c << 21) | (c >>> 11)) + word) | 0;
      words[i] = word;
    }
  }
}
