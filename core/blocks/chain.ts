import { BlockError } from './block-error.ts';
import { digestWords } from './block-table.ts';

/** The block before a chain's first one. */
export interface ChainParent {
  /** Digest of the prefix that ends with it: 4 words. */
  readonly digest: Uint32Array;
  readonly sequenceHash: bigint;
}

/** Consecutive full blocks of one prompt, in columns. */
export interface BlockChain {
  /** Number that Namespaces gave. */
  readonly namespace: number;
  /** Index of the first block in the prompt. */
  readonly startBlock: number;
  /** Null exactly when startBlock is 0. */
  readonly parent: ChainParent | null;
  /** Digest of the prefix that ends with each block: 4 words each. */
  readonly digests: Uint32Array;
  /** Sequence hash of each block, as the router knows it. */
  readonly sequenceHashes: BigUint64Array;
}

/** Throws BlockError `invalid_chain` when the columns contradict each other. */
export function checkChain(chain: BlockChain): void {
  const { startBlock, parent, digests, sequenceHashes } = chain;
  const problem =
    digests.length !== sequenceHashes.length * digestWords
      ? `digests has ${digests.length} words for ${sequenceHashes.length} blocks`
      : !Number.isInteger(startBlock) || startBlock < 0 || startBlock + sequenceHashes.length > 2 ** 32
        ? `startBlock ${startBlock} is no index of a block`
        : (parent === null) !== (startBlock === 0)
          ? `parent is ${parent === null ? 'missing' : 'given'} though startBlock is ${startBlock}`
          : parent !== null && parent.digest.length !== digestWords
            ? `parent.digest has ${parent.digest.length} words`
            : undefined;
  if (problem !== undefined) throw new BlockError('invalid_chain', problem);
}
