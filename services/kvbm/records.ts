import type { BlockManager } from '#core/blocks/block-manager.ts';
import type { BlockInfo } from '#core/blocks/listing.ts';
import type { BlockHeader, ExpectedHeader } from '#core/blocks/record/block-header.ts';
import type { TierIndex } from '#core/blocks/tiers.ts';
import type { Layout } from './layout.ts';
import { type KnownNamespace, type NamespaceBook, namespaceNumber } from './namespace-book.ts';

/** Life of the memory and incarnation of the slot that a record is written for; and how the bytes lie there. */
export interface RecordPlace {
  readonly epoch: number;
  readonly generation: number;
  /** Unset: the block's own, as it is in host memory. */
  readonly payloadBytes?: number;
  readonly payloadChecksum?: bigint;
  readonly isEncrypted?: boolean;
}

/** What the record of a block says, wherever it is kept. */
export function headerOf(block: BlockInfo, namespace: KnownNamespace, layout: Layout, place: RecordPlace): BlockHeader {
  return {
    epoch: place.epoch,
    generation: place.generation,
    namespaceDigest: wordsOf(namespace.digest),
    modelDigest: namespace.modelCode,
    layout: layout.code,
    dtype: layout.dtypeCode,
    blockTokens: layout.blockTokens,
    digest: block.digest,
    sequenceHash: block.sequenceHash,
    position: block.position,
    parent: block.parent,
    priority: block.priority,
    isEncrypted: place.isEncrypted ?? false,
    payloadBytes: place.payloadBytes ?? block.size,
    payloadChecksum: place.payloadChecksum ?? joinWords(block.checksumLow, block.checksumHigh),
  };
}

/** What a record of a block of the namespace must say. */
export function expectedOf(namespace: KnownNamespace, layout: Layout, digest: Uint32Array): ExpectedHeader {
  return {
    modelDigest: namespace.modelCode,
    layout: layout.code,
    dtype: layout.dtypeCode,
    blockTokens: layout.blockTokens,
    namespaceDigest: wordsOf(namespace.digest),
    digest,
  };
}

/** What was found at rest, with the checksum and size that the block has in host memory. */
export interface RestingBlock {
  readonly slot: number;
  readonly header: BlockHeader;
  /** Unset: as the header says. */
  readonly size?: number;
  readonly checksum?: bigint;
}

/** What became of a block of an earlier life; all but `adopted` is a miss, and a label of a counter. */
export type Adoption = 'adopted' | 'unknown_namespace' | 'wrong_layout' | 'wrong_model' | 'duplicate';

/** Takes a block over whose record verified (checksum of the record, epoch and generation as the tier knows them). */
export function adoptBlock(
  manager: BlockManager,
  book: NamespaceBook,
  layout: Layout,
  tier: TierIndex,
  found: RestingBlock,
): Adoption {
  const { header, slot } = found;
  const namespace = book.find(hexOf(header.namespaceDigest));
  if (namespace === undefined) return 'unknown_namespace';
  if (header.layout !== layout.code || header.dtype !== layout.dtypeCode || namespace.layout !== layout.fingerprint)
    return 'wrong_layout';
  if (header.modelDigest !== namespace.modelCode) return 'wrong_model';
  const checksum = found.checksum ?? header.payloadChecksum;
  const size = found.size ?? header.payloadBytes;
  if (header.blockTokens !== layout.blockTokens || size > layout.blockBytes) return 'wrong_layout';
  const isNew = manager.adopt(tier, {
    slot,
    generation: header.generation,
    priority: Math.min(15, header.priority),
    ...splitWords(checksum),
    size,
    chain: {
      namespace: namespaceNumber(manager, namespace, layout),
      startBlock: header.position,
      parent: header.parent,
      digests: header.digest,
      sequenceHashes: BigUint64Array.of(header.sequenceHash),
    },
  });
  return isNew ? 'adopted' : 'duplicate';
}

/** 32 hexadecimal digits as 4 words, and back. */
export function wordsOf(hex: string): Uint32Array {
  const bytes = Buffer.from(hex, 'hex');
  return Uint32Array.from({ length: bytes.length / 4 }, (_, word) => bytes.readUInt32LE(4 * word));
}

export function hexOf(words: Uint32Array): string {
  return Buffer.from(words.buffer, words.byteOffset, words.byteLength).toString('hex');
}

export function joinWords(low: number, high: number): bigint {
  return (BigInt(high) << 32n) | BigInt(low);
}

export function splitWords(value: bigint): { readonly checksumLow: number; readonly checksumHigh: number } {
  return { checksumLow: Number(value & 0xffffffffn), checksumHigh: Number(value >> 32n) };
}
