import { MsgpackError, type MsgpackReader } from './msgpack-reader.ts';

/**
 * A block hash as 64 bits: an integer of either sign, or bytes, of which the last eight count, the highest first. That is
 * how vLLM itself shortens its SHA-256 and xxHash-128 digests to integers. Throws MsgpackError.
 */
export function decodeHash(reader: MsgpackReader): bigint {
  if (reader.kind() !== 'bytes') return BigInt.asUintN(64, reader.bigint());
  const bytes = reader.bytes();
  if (bytes.length === 0) throw new MsgpackError('a block hash of no bytes');
  let hash = 0n;
  for (const byte of bytes.subarray(-8)) hash = (hash << 8n) | BigInt(byte);
  return hash;
}

export function decodeColumn(reader: MsgpackReader): BigUint64Array {
  const hashes = new BigUint64Array(reader.array());
  for (let i = 0; i < hashes.length; i++) hashes[i] = decodeHash(reader);
  return hashes;
}

export interface EventTokens {
  readonly tokenIds: Uint32Array;
  readonly bigrams: boolean;
}

/** Token ids, or the pairs of neighbours that SGLang sends with Eagle: [[a, b], [b, c]] is a, b, c. */
export function decodeTokens(reader: MsgpackReader): EventTokens {
  const length = reader.array();
  if (length > 0 && reader.kind() === 'array') return { tokenIds: decodePairs(reader, length), bigrams: true };
  const tokenIds = new Uint32Array(length);
  for (let i = 0; i < length; i++) tokenIds[i] = reader.uint32();
  return { tokenIds, bigrams: false };
}

function decodePairs(reader: MsgpackReader, length: number): Uint32Array {
  const tokenIds = new Uint32Array(length + 1);
  for (let i = 0; i < length; i++) {
    if (reader.array() !== 2) throw new MsgpackError('token_ids with a pair that is none');
    tokenIds[i] = reader.uint32();
    tokenIds[i + 1] = reader.uint32();
  }
  return tokenIds;
}
