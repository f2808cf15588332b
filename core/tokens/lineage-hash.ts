/**
 * Positional lineage hash: position, sequence hash and a fragment of the parent's sequence hash in 128 bits, the identity
 * of a block in Dynamo's block manager. Two bits of mode, then the position in 8, 16 or 24 bits, the sequence hash in 64,
 * and of the parent's hash what is left: 54, 46 or 38 bits.
 */
export type LineageHash = bigint;

export interface LineageParts {
  /** Index of the block in its prompt. */
  readonly position: number;
  readonly sequenceHash: bigint;
  /** Low bits of the parent's sequence hash; 0 at position 0. */
  readonly parentFragment: bigint;
}

const positionBits = [8n, 16n, 24n] as const;

/** Throws RangeError for a position that does not fit 24 bits. */
export function lineageHash(sequenceHash: bigint, parent: bigint | null, position: number): LineageHash {
  if (!Number.isInteger(position) || position < 0 || position >= 2 ** 24)
    throw new RangeError(`position ${position} is not within 0 to ${2 ** 24 - 1}`);
  const mode = position < 2 ** 8 ? 0 : position < 2 ** 16 ? 1 : 2;
  const parentBits = 62n - positionBits[mode];
  const head = (BigInt(mode) << positionBits[mode]) | BigInt(position);
  return (((head << 64n) | sequenceHash) << parentBits) | BigInt.asUintN(Number(parentBits), parent ?? 0n);
}

/** Throws RangeError for a value of no mode. */
export function lineageParts(hash: LineageHash): LineageParts {
  const bits = positionBits[Number(hash >> 126n)];
  if (bits === undefined) throw new RangeError('no positional lineage hash: its mode is not 0, 1 or 2');
  const parentBits = 62n - bits;
  return {
    position: Number(BigInt.asUintN(Number(bits), hash >> (64n + parentBits))),
    sequenceHash: BigInt.asUintN(64, hash >> parentBits),
    parentFragment: BigInt.asUintN(Number(parentBits), hash),
  };
}

/** 16 bytes, big-endian. */
export function lineageBytes(hash: LineageHash): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, hash >> 64n);
  view.setBigUint64(8, BigInt.asUintN(64, hash));
  return bytes;
}

/** `position:hash:parent` with hashes in base 58; the first block has no parent. */
export function printLineage(hash: LineageHash): string {
  const { position, sequenceHash, parentFragment } = lineageParts(hash);
  const own = `${position}:${base58(sequenceHash)}`;
  return position === 0 ? own : `${own}:${base58(parentFragment)}`;
}

const alphabet = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz';

/** Base 58 (Bitcoin's alphabet) of eight bytes, big-endian: every leading zero byte is a `1`. */
function base58(value: bigint): string {
  let digits = '';
  for (let rest = value; rest > 0n; rest /= 58n) digits = (alphabet[Number(rest % 58n)] ?? '') + digits;
  const significant = Math.ceil(value.toString(2).length / 8);
  return '1'.repeat(value === 0n ? 8 : 8 - significant) + digits;
}
