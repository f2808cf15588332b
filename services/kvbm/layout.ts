import { createHash } from 'node:crypto';
import type { BlockLayout } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';

export const pageBytes = 4096;

const maxBlockBytes = 2 ** 30;
const maxFormat = 256;
const maxDtype = 32;

/** What a worker says of its blocks' shape. */
export type LayoutSpec = Pick<BlockLayout, 'format' | 'blockTokens' | 'dtype'> & { readonly blockBytes: number };

/** A shape of blocks that has arenas here. */
export interface Layout extends LayoutSpec {
  /** Index of its arena in every tier. */
  readonly index: number;
  /** 32 hexadecimal digits: equal for equal shapes, on every node and in every life. */
  readonly fingerprint: string;
  /** Numbers of layout and data type in records. */
  readonly code: number;
  readonly dtypeCode: number;
  /** Bytes of a slot: a page with the record, then the block, up to the end of its last page. */
  readonly slotBytes: number;
}

/** Throws StatorError `invalid_argument` naming the field. */
export function checkLayout(layout: Omit<BlockLayout, '$typeName' | '$unknown'> | undefined): LayoutSpec {
  if (layout === undefined) throw StatorError.invalid('layout', 'The shape of the blocks is missing.');
  const { format, blockBytes, blockTokens, dtype } = layout;
  if (format === '' || format.length > maxFormat)
    throw StatorError.invalid('layout.format', `The format must have 1 to ${maxFormat} characters.`);
  if (blockBytes < 1n || blockBytes > BigInt(maxBlockBytes))
    throw StatorError.invalid('layout.block_bytes', `A block must have 1 to ${maxBlockBytes} bytes.`);
  if (blockTokens < 1 || blockTokens > 65_536)
    throw StatorError.invalid('layout.block_tokens', 'A block must have 1 to 65536 tokens.');
  if (dtype === '' || dtype.length > maxDtype)
    throw StatorError.invalid('layout.dtype', `The data type must have 1 to ${maxDtype} characters.`);
  return { format, blockBytes: Number(blockBytes), blockTokens, dtype };
}

/** The layout under an index that the block manager gives. */
export function describeLayout(spec: LayoutSpec, index: number): Layout {
  const { format, blockBytes, blockTokens, dtype } = spec;
  const digest = layoutDigest(spec);
  return {
    ...{ format, blockBytes, blockTokens, dtype, index },
    fingerprint: digest.toString('hex', 0, 16),
    code: digest.readUInt32LE(16),
    dtypeCode: createHash('sha256').update(dtype).digest().readUInt16LE(),
    slotBytes: slotBytesOf(blockBytes),
  };
}

export function fingerprintOf(spec: LayoutSpec): string {
  return layoutDigest(spec).toString('hex', 0, 16);
}

export function slotBytesOf(blockBytes: number): number {
  return pageBytes + Math.ceil(blockBytes / pageBytes) * pageBytes;
}

function layoutDigest({ format, blockBytes, blockTokens, dtype }: LayoutSpec): Buffer {
  const text = JSON.stringify(['stator-kv-layout-1', format, blockBytes, blockTokens, dtype]);
  return createHash('sha256').update(text).digest();
}
