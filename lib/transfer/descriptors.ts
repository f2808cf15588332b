import { StatorError } from '#lib/errors/errors.ts';
import type { RegionRef } from './transfer.ts';

/** A piece of a region that its owner offers, in the order in which it is to be read. */
export interface Descriptor {
  readonly region: RegionRef;
  readonly offset: number;
  readonly bytes: number;
}

const MAGIC = 0x31445453; // "STD1"
const HEADER_BYTES = 8;
const ENTRY_BYTES = 36;
const MAX_ENTRIES = 1 << 20;
/** Sums of two stay exact. */
const MAX_VALUE = 1n << 52n;

/** Little-endian: magic, count, then per piece: region id, region bytes, region address, offset, bytes. */
export function encodeDescriptors(descriptors: readonly Descriptor[]): Uint8Array {
  const bytes = Buffer.alloc(HEADER_BYTES + descriptors.length * ENTRY_BYTES);
  bytes.writeUInt32LE(MAGIC, 0);
  bytes.writeUInt32LE(descriptors.length, 4);
  for (const [index, { region, offset, bytes: length }] of descriptors.entries()) {
    let at = HEADER_BYTES + index * ENTRY_BYTES;
    at = bytes.writeUInt32LE(region.id, at);
    at = bytes.writeBigUInt64LE(BigInt(region.bytes), at);
    at = bytes.writeBigUInt64LE(region.address, at);
    at = bytes.writeBigUInt64LE(BigInt(offset), at);
    bytes.writeBigUInt64LE(BigInt(length), at);
  }
  return bytes;
}

/** Throws `invalid_argument` for anything but what `encodeDescriptors` makes, and for pieces outside their region. */
export function decodeDescriptors(data: Uint8Array): Descriptor[] {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  if (bytes.length < HEADER_BYTES || bytes.readUInt32LE(0) !== MAGIC) throw refused('they begin otherwise');
  const count = bytes.readUInt32LE(4);
  if (count > MAX_ENTRIES || bytes.length !== HEADER_BYTES + count * ENTRY_BYTES)
    throw refused('their length is wrong');
  return Array.from({ length: count }, (_, index) => {
    const at = HEADER_BYTES + index * ENTRY_BYTES;
    const [size, offset, length] = [whole(bytes, at + 4), whole(bytes, at + 20), whole(bytes, at + 28)];
    if (length === 0 || offset + length > size) throw refused(`piece ${index} lies outside its region`);
    const region = { id: bytes.readUInt32LE(at), bytes: size, address: bytes.readBigUInt64LE(at + 12) };
    return { region, offset, bytes: length };
  });
}

function whole(bytes: Buffer, at: number): number {
  const value = bytes.readBigUInt64LE(at);
  if (value > MAX_VALUE) throw refused('a number is too large');
  return Number(value);
}

function refused(why: string): StatorError {
  return StatorError.invalid('descriptors', `These are no descriptors: ${why}.`);
}
