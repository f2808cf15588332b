/** Bytes of a header; the block's bytes follow it, at the alignment that their store needs. */
export const headerBytes = 128;

const magic = 0x564b_5453; // "STKV", little-endian
const version = 1;
const checkedFrom = 16;
const parentFlag = 1;
const encryptedFlag = 2;

/** What a stored block says of itself. Digests are of 128 bits: 16 bytes or 4 words. */
export interface BlockHeader {
  /** Life of the memory or file that the slot is in, and incarnation of the slot. */
  readonly epoch: number;
  readonly generation: number;
  /** Of everything beside tokens that decides the bytes. */
  readonly namespaceDigest: Uint32Array;
  /** First 64 bits of the digest of the model's and adapters' contents. */
  readonly modelDigest: bigint;
  /** Number of the engine's layout, and of the data type in it. */
  readonly layout: number;
  readonly dtype: number;
  /** Tokens in a block. */
  readonly blockTokens: number;
  readonly digest: Uint32Array;
  readonly sequenceHash: bigint;
  /** Index of the block in its prompt. */
  readonly position: number;
  /** Null exactly for the first block of a prompt. */
  readonly parent: { readonly digest: Uint32Array; readonly sequenceHash: bigint } | null;
  readonly priority: number;
  readonly isEncrypted: boolean;
  /** Bytes of the block as stored, and the checksum of them. */
  readonly payloadBytes: number;
  readonly payloadChecksum: bigint;
}

/** Whatever a reader knows of the block that it wants; a header that says otherwise is a miss. */
export type ExpectedHeader = Partial<
  Pick<
    BlockHeader,
    | 'epoch'
    | 'generation'
    | 'namespaceDigest'
    | 'modelDigest'
    | 'layout'
    | 'dtype'
    | 'blockTokens'
    | 'digest'
    | 'sequenceHash'
    | 'payloadBytes'
  >
>;

/** Why a stored block is not used; a label of a counter. */
export type Rejection =
  | 'empty'
  | 'truncated'
  | 'bad_magic'
  | 'unknown_version'
  | 'header_checksum'
  | 'payload_checksum'
  | 'inconsistent'
  | `wrong_${keyof ExpectedHeader}`;

export type Decoded =
  | { readonly header: BlockHeader; readonly rejection?: never }
  | { readonly header?: never; readonly rejection: Rejection };

/** Checksum of 64 bits (XXH3 in production). */
export type Hash64 = (bytes: Uint8Array) => bigint;

export function encodeHeader(header: BlockHeader, hash: Hash64): Uint8Array {
  const bytes = new Uint8Array(headerBytes);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, magic, true);
  view.setUint16(4, version, true);
  view.setUint16(6, headerBytes, true);
  view.setUint32(16, header.epoch, true);
  view.setUint32(20, header.generation, true);
  writeDigest(view, 24, header.namespaceDigest);
  writeDigest(view, 40, header.digest);
  if (header.parent !== null) writeDigest(view, 56, header.parent.digest);
  view.setBigUint64(72, header.sequenceHash, true);
  view.setBigUint64(80, header.parent?.sequenceHash ?? 0n, true);
  view.setUint32(88, header.position, true);
  view.setUint32(92, header.layout, true);
  view.setUint16(96, header.dtype, true);
  view.setUint8(98, (header.parent === null ? 0 : parentFlag) | (header.isEncrypted ? encryptedFlag : 0));
  view.setUint8(99, header.priority);
  view.setUint32(100, header.blockTokens, true);
  view.setBigUint64(104, BigInt(header.payloadBytes), true);
  view.setBigUint64(112, header.modelDigest, true);
  view.setBigUint64(120, header.payloadChecksum, true);
  view.setBigUint64(8, hash(bytes.subarray(checkedFrom)), true);
  return bytes;
}

/** Reads a header and holds it to what is expected; never throws, whatever the bytes are. */
export function decodeHeader(bytes: Uint8Array, expected: ExpectedHeader, hash: Hash64): Decoded {
  if (bytes.length < headerBytes) return { rejection: 'truncated' };
  const view = new DataView(bytes.buffer, bytes.byteOffset, headerBytes);
  if (view.getUint32(0, true) !== magic) return { rejection: isEmpty(bytes) ? 'empty' : 'bad_magic' };
  if (view.getUint16(4, true) !== version || view.getUint16(6, true) !== headerBytes)
    return { rejection: 'unknown_version' };
  if (view.getBigUint64(8, true) !== hash(bytes.subarray(checkedFrom, headerBytes)))
    return { rejection: 'header_checksum' };
  const header = readHeader(view);
  if ((header.parent === null) !== (header.position === 0)) return { rejection: 'inconsistent' };
  const rejection = contradiction(header, expected);
  return rejection === undefined ? { header } : { rejection };
}

/** Why the bytes are not those that the header was written for; undefined when they are. */
export function checkPayload(header: BlockHeader, payload: Uint8Array, hash: Hash64): Rejection | undefined {
  if (payload.length < header.payloadBytes) return 'truncated';
  if (payload.length > header.payloadBytes) return 'wrong_payloadBytes';
  return hash(payload) === header.payloadChecksum ? undefined : 'payload_checksum';
}

function readHeader(view: DataView): BlockHeader {
  const flags = view.getUint8(98);
  const parent = { digest: readDigest(view, 56), sequenceHash: view.getBigUint64(80, true) };
  return {
    epoch: view.getUint32(16, true),
    generation: view.getUint32(20, true),
    namespaceDigest: readDigest(view, 24),
    modelDigest: view.getBigUint64(112, true),
    layout: view.getUint32(92, true),
    dtype: view.getUint16(96, true),
    blockTokens: view.getUint32(100, true),
    digest: readDigest(view, 40),
    sequenceHash: view.getBigUint64(72, true),
    position: view.getUint32(88, true),
    parent: (flags & parentFlag) === 0 ? null : parent,
    priority: view.getUint8(99),
    isEncrypted: (flags & encryptedFlag) !== 0,
    payloadBytes: Number(view.getBigUint64(104, true)),
    payloadChecksum: view.getBigUint64(120, true),
  };
}

/** What differs between engines is asked before what differs between blocks: the first says more of the cause. */
const compared = [
  'modelDigest',
  'layout',
  'dtype',
  'blockTokens',
  'namespaceDigest',
  'digest',
  'sequenceHash',
  'payloadBytes',
  'epoch',
  'generation',
] as const satisfies readonly (keyof ExpectedHeader)[];

function contradiction(header: BlockHeader, expected: ExpectedHeader): Rejection | undefined {
  const field = compared.find((name) => expected[name] !== undefined && !isSame(header[name], expected[name]));
  return field === undefined ? undefined : `wrong_${field}`;
}

function isSame(a: number | bigint | Uint32Array, b: number | bigint | Uint32Array): boolean {
  if (typeof a !== 'object' || typeof b !== 'object') return a === b;
  return a.length === b.length && a.every((word, index) => word === b[index]);
}

function isEmpty(bytes: Uint8Array): boolean {
  return bytes.subarray(0, headerBytes).every((byte) => byte === 0);
}

function writeDigest(view: DataView, at: number, digest: Uint32Array): void {
  for (let word = 0; word < 4; word++) view.setUint32(at + 4 * word, digest[word] ?? 0, true);
}

function readDigest(view: DataView, at: number): Uint32Array {
  return Uint32Array.from({ length: 4 }, (_, word) => view.getUint32(at + 4 * word, true));
}
