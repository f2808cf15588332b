import type { BlockChain } from '#core/blocks/chain.ts';
import { unpackHashes } from '#core/tokens/packed-hashes.ts';
import type { BlockChain as Wire } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { AttachedHolder } from './holders.ts';

const digestBytes = 16;

/** The chain that a call names, checked: a namespace that the holder opened, columns of equal length. Throws StatorError. */
export function chainOf(chain: Wire | undefined, holder: AttachedHolder, maxBlocks: number): BlockChain {
  if (chain === undefined) throw StatorError.invalid('chain', 'The blocks are missing.');
  const { namespace, startBlock, parentDigest, parentSequenceHash, digests, sequenceHashes } = chain;
  if (!holder.namespaces.has(namespace))
    throw StatorError.notFound(`The worker has not opened namespace ${namespace}.`, {
      field: 'chain.namespace',
      facts: { reason: 'unknown_namespace' },
    });
  if (digests.length % digestBytes !== 0)
    throw StatorError.invalid('chain.digests', `${digests.length} bytes are no column of digests of 16 bytes.`);
  if (sequenceHashes.length * 2 !== digests.length)
    throw StatorError.invalid(
      'chain.sequence_hashes',
      `There must be 8 bytes for each digest: ${digests.length / 2}, not ${sequenceHashes.length}.`,
    );
  const blocks = digests.length / digestBytes;
  if (blocks === 0 || blocks > maxBlocks)
    throw StatorError.invalid('chain.digests', `A call names 1 to ${maxBlocks} blocks, not ${blocks}.`);
  if (parentDigest.length !== (startBlock === 0 ? 0 : digestBytes))
    throw StatorError.invalid('chain.parent_digest', 'It must have 16 bytes, and none exactly where start_block is 0.');
  return {
    namespace,
    startBlock,
    parent: startBlock === 0 ? null : { digest: wordsOf(parentDigest), sequenceHash: parentSequenceHash },
    digests: wordsOf(digests),
    sequenceHashes: unpackHashes(sequenceHashes),
  };
}

/** Part of a chain: `count` blocks from the one at `from` on. */
export function partOf(chain: BlockChain, from: number, count: number): BlockChain {
  const { namespace, startBlock, digests, sequenceHashes } = chain;
  const before = { digest: digests.subarray(4 * from - 4, 4 * from), sequenceHash: sequenceHashes[from - 1] ?? 0n };
  return {
    namespace,
    startBlock: startBlock + from,
    parent: from === 0 ? chain.parent : before,
    digests: digests.subarray(4 * from, 4 * (from + count)),
    sequenceHashes: sequenceHashes.subarray(from, from + count),
  };
}

function wordsOf(bytes: Uint8Array): Uint32Array {
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  return new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.length / 4);
}
