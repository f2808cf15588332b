import {
  type BlockHeader,
  decodeHeader,
  type ExpectedHeader,
  encodeHeader,
  type Hash64,
  headerBytes,
  type Rejection,
} from '#core/blocks/record/block-header.ts';

/** Stands before the bytes of every block at rest, on disk and in objects alike; a page, so that both are aligned. */
export const pageBytes = 4096;

const magic = 0x584b_5453; // "STKX", little-endian
const version = 1;
/** Bytes of what follows the record. */
const restBytes = 64;

/** How a block's bytes are encrypted: AES-256-GCM under a key that is named and never stored. */
export interface Seal {
  /** 8 bytes. */
  readonly keyId: Uint8Array;
  /** 12 bytes, never used twice under a key. */
  readonly nonce: Uint8Array;
  /** 16 bytes. */
  readonly tag: Uint8Array;
}

/** The record of a block as it is at rest. */
export interface StoredPage {
  readonly header: BlockHeader;
  /** Milliseconds since 1970; orders the blocks of a store by age. */
  readonly writtenMs: number;
  readonly seal: Seal | null;
}

export type DecodedPage =
  | { readonly page: StoredPage; readonly rejection?: never }
  | { readonly page?: never; readonly rejection: Rejection };

/** Fills a page. */
export function encodePage(page: StoredPage, target: Uint8Array, hash: Hash64): void {
  target.fill(0);
  target.set(encodeHeader(page.header, hash));
  const rest = target.subarray(headerBytes, headerBytes + restBytes);
  const view = new DataView(rest.buffer, rest.byteOffset, rest.length);
  view.setUint32(0, magic, true);
  view.setUint32(4, version, true);
  view.setFloat64(16, page.writtenMs, true);
  if (page.seal !== null) {
    rest.set(page.seal.keyId, 24);
    rest.set(page.seal.nonce, 32);
    rest.set(page.seal.tag, 44);
  }
  view.setUint8(60, page.seal === null ? 0 : 1);
  view.setBigUint64(8, hash(rest.subarray(16)), true);
}

/** Reads a page and holds its record to what is expected; never throws, whatever the bytes are. */
export function decodePage(bytes: Uint8Array, expected: ExpectedHeader, hash: Hash64): DecodedPage {
  if (bytes.length < pageBytes) return { rejection: 'truncated' };
  const decoded = decodeHeader(bytes, expected, hash);
  if (decoded.header === undefined) return { rejection: decoded.rejection };
  const rest = bytes.subarray(headerBytes, headerBytes + restBytes);
  const view = new DataView(rest.buffer, rest.byteOffset, rest.length);
  if (view.getUint32(0, true) !== magic) return { rejection: 'bad_magic' };
  if (view.getUint32(4, true) !== version) return { rejection: 'unknown_version' };
  if (view.getBigUint64(8, true) !== hash(rest.subarray(16))) return { rejection: 'header_checksum' };
  const isSealed = view.getUint8(60) === 1;
  if (isSealed !== decoded.header.isEncrypted) return { rejection: 'inconsistent' };
  const seal = isSealed ? { keyId: rest.slice(24, 32), nonce: rest.slice(32, 44), tag: rest.slice(44, 60) } : null;
  return { page: { header: decoded.header, writtenMs: view.getFloat64(16, true), seal } };
}
