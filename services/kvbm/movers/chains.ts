import { digestWords } from '#core/blocks/block-table.ts';
import type { BlockChain } from '#core/blocks/chain.ts';
import type { BlockInfo } from '#core/blocks/listing.ts';

/** One block of a chain as a chain of its own. */
export function chainOf(chain: BlockChain, index: number): BlockChain {
  const { namespace, startBlock, digests, sequenceHashes } = chain;
  const parent =
    index === 0
      ? chain.parent
      : { digest: digestAt(digests, index - 1), sequenceHash: sequenceHashes[index - 1] ?? 0n };
  return {
    ...{ namespace, parent, startBlock: startBlock + index },
    digests: digestAt(digests, index),
    sequenceHashes: sequenceHashes.subarray(index, index + 1),
  };
}

/** A block that the manager knows, as a chain. */
export function chainOfBlock({ namespace, parent, position, digest, sequenceHash }: BlockInfo): BlockChain {
  const sequenceHashes = BigUint64Array.of(sequenceHash);
  return { namespace, parent, startBlock: position, digests: digest, sequenceHashes };
}

export function digestAt(digests: Uint32Array, index: number): Uint32Array {
  return digests.subarray(index * digestWords, (index + 1) * digestWords);
}
