import type { TokenTable as TokenTableMessage } from '#gen/stator/tokenizer/v1/tokenizer_pb.ts';
import { incompleteTail } from './utf8.ts';

/** What `createTokenTable` reads of the contract's message. */
export type TokenTableData = Pick<
  TokenTableMessage,
  'data' | 'offsets' | 'specialTokenIds' | 'eosTokenIds' | 'stripLeadingSpace'
>;

/** The bytes of every token of a vocabulary. Shared by all sequences of a model; texts are cached as they are first used. */
export interface TokenTable {
  /** Number of ids. */
  readonly size: number;
  readonly data: Uint8Array;
  /** Offset of each token in `data`, and one more for the end. */
  readonly offsets: Uint32Array;
  /** 1 for ids that are special, else 0. */
  readonly special: Uint8Array;
  readonly eosTokenIds: ReadonlySet<number>;
  /** Whether one space at the very start of decoded text is dropped. */
  readonly stripLeadingSpace: boolean;
  /** Text of each token whose bytes are whole UTF-8; null where they are not; undefined until first used. */
  readonly texts: (string | null | undefined)[];
}

/** Throws RangeError when the message contradicts itself. */
export function createTokenTable(message: TokenTableData): TokenTable {
  const offsets = Uint32Array.from(message.offsets);
  const size = Math.max(0, offsets.length - 1);
  checkOffsets(offsets, message.data.length);
  const special = new Uint8Array(size);
  for (const id of message.specialTokenIds) if (id < size) special[id] = 1;
  return {
    size,
    data: message.data,
    offsets,
    special,
    eosTokenIds: new Set(message.eosTokenIds),
    stripLeadingSpace: message.stripLeadingSpace,
    texts: new Array<string | null | undefined>(size).fill(undefined),
  };
}

/** Bytes of a token; empty for ids beyond the vocabulary. */
export function tokenBytes(table: TokenTable, tokenId: number): Uint8Array {
  const start = table.offsets[tokenId];
  const end = table.offsets[tokenId + 1];
  return start === undefined || end === undefined ? table.data.subarray(0, 0) : table.data.subarray(start, end);
}

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Text of a token by itself, or null if its bytes are no whole UTF-8. */
export function tokenText(table: TokenTable, tokenId: number): string | null {
  const cached = table.texts[tokenId];
  if (cached !== undefined) return cached;
  if (tokenId >= table.size) return '';
  const text = decodeWhole(tokenBytes(table, tokenId));
  table.texts[tokenId] = text;
  return text;
}

function decodeWhole(bytes: Uint8Array): string | null {
  if (incompleteTail(bytes, bytes.length) > 0) return null;
  try {
    return strict.decode(bytes);
  } catch {
    return null;
  }
}

function checkOffsets(offsets: Uint32Array, length: number): void {
  let before = 0;
  for (const offset of offsets) {
    if (offset < before || offset > length) throw new RangeError('offsets of a token table must rise within its data');
    before = offset;
  }
}
