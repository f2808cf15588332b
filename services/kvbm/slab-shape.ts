import type { Hash64 } from '#core/blocks/record/block-header.ts';
import { checkLayout, type LayoutSpec, pageBytes, slotBytesOf } from './layout.ts';

const magic = Buffer.from('STATSLAB');
const version = 1;
const checksumAt = 24;
const checkedFrom = 32;
const layoutAt = 80;

/** Offset of the epoch in a slab; the only word of the first page that changes. */
export const epochOffset = 16;

/** Where everything is in a slab file; all of it begins on a page. */
export interface SlabShape {
  readonly layout: LayoutSpec;
  readonly slots: number;
  readonly generationsOffset: number;
  readonly slotsOffset: number;
  readonly slotBytes: number;
  readonly totalBytes: number;
}

/** The shape with as many slots as fit into so many bytes; undefined when not one does. */
export function shapeWithin(layout: LayoutSpec, bytes: number): SlabShape | undefined {
  const slotBytes = slotBytesOf(layout.blockBytes);
  let slots = Math.min(2 ** 31 - 1, Math.floor((bytes - pageBytes) / slotBytes));
  while (slots > 0 && shapeOf(layout, slots).totalBytes > bytes) slots--;
  return slots > 0 ? shapeOf(layout, slots) : undefined;
}

function shapeOf(layout: LayoutSpec, slots: number): SlabShape {
  const slotBytes = slotBytesOf(layout.blockBytes);
  const slotsOffset = pageBytes + Math.ceil((4 * slots) / pageBytes) * pageBytes;
  const totalBytes = slotsOffset + slots * slotBytes;
  return { layout, slots, generationsOffset: pageBytes, slotsOffset, slotBytes, totalBytes };
}

/** The first page of a slab, with epoch 0. */
export function encodeShape(shape: SlabShape, hash: Hash64): Buffer {
  const { format, blockBytes, blockTokens, dtype } = shape.layout;
  const layout = JSON.stringify({ format, blockBytes, blockTokens, dtype });
  const page = Buffer.alloc(pageBytes);
  magic.copy(page);
  page.writeUInt32LE(version, 8);
  page.writeUInt32LE(shape.slots, checkedFrom);
  page.writeUInt32LE(Buffer.byteLength(layout), checkedFrom + 4);
  page.write(layout, layoutAt);
  page.writeBigUInt64LE(hash(page.subarray(checkedFrom)), checksumAt);
  return page;
}

/** What a first page describes; undefined when it is none, or of another version. */
export function decodeShape(page: Buffer, hash: Hash64): SlabShape | undefined {
  if (page.length < pageBytes || !page.subarray(0, magic.length).equals(magic)) return undefined;
  const whole = page.subarray(checkedFrom, pageBytes);
  if (page.readUInt32LE(8) !== version || page.readBigUInt64LE(checksumAt) !== hash(whole)) return undefined;
  const text = page.toString('utf8', layoutAt, layoutAt + page.readUInt32LE(checkedFrom + 4));
  try {
    const { format, blockBytes, blockTokens, dtype } = JSON.parse(text) as LayoutSpec;
    const layout = checkLayout({ format, blockBytes: BigInt(blockBytes), blockTokens, dtype });
    return shapeOf(layout, page.readUInt32LE(checkedFrom));
  } catch {
    return undefined;
  }
}
