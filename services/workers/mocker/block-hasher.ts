import { hashBlocks, xxh3 } from '#native/tokens/index.ts';

/** Seed of the chain of sequence hashes. */
const chainSeed = 1337n;

/** Hashes of one block. */
export interface BlockHash {
  readonly local: bigint;
  readonly sequence: bigint;
}

/** Hashes the blocks of one sequence, its prompt at once and what follows block by block. */
export class BlockHasher {
  readonly #blockSize: number;
  readonly #salts: { readonly cacheSalt: string; readonly adapter: string };

  constructor(blockSize: number, salts: { readonly cacheSalt: string; readonly adapter: string }) {
    this.#blockSize = blockSize;
    this.#salts = salts;
  }

  /** Every full block of the tokens. */
  all(tokenIds: Uint32Array): BlockHash[] {
    const { localHashes, sequenceHashes } = hashBlocks(tokenIds, this.#blockSize, this.#salts);
    return Array.from(localHashes, (local, index) => ({ local, sequence: sequenceHashes[index] ?? 0n }));
  }

  /** The block after `parent`, from its own tokens. */
  next(parent: bigint | null, tokenIds: Uint32Array): BlockHash {
    const local = hashBlocks(tokenIds, this.#blockSize, this.#salts).localHashes[0] ?? 0n;
    if (parent === null) return { local, sequence: local };
    const pair = new DataView(new ArrayBuffer(16));
    pair.setBigUint64(0, parent, true);
    pair.setBigUint64(8, local, true);
    return { local, sequence: xxh3(new Uint8Array(pair.buffer), chainSeed) };
  }
}
