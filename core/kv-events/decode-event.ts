import { decodeColumn, decodeHash, decodeTokens } from './decode-columns.ts';
import { type BlockKeys, cacheSaltOf, decodeExtraKeys, decodeMediaInfos, mediaOf } from './decode-media.ts';
import type { EngineEvent, EventOrigin } from './engine-event.ts';
import { MsgpackError, type MsgpackReader } from './msgpack-reader.ts';

/** Everything that an event may say, before it is known which event it is. */
interface Fields {
  blockHashes: BigUint64Array | null;
  parentHash: bigint | null;
  tokenIds: Uint32Array | null;
  bigrams: boolean;
  blockSize: number | null;
  adapterId: number | null;
  adapter: string | null;
  cacheSalt: string | null;
  extraKeys: readonly BlockKeys[] | null;
  mediaInfos: readonly (readonly bigint[])[] | null;
  eagle: boolean | null;
  sessionId: string | null;
  origin: { -readonly [K in keyof EventOrigin]: EventOrigin[K] };
}

/** Decodes a tagged map or a positional array whose first element is the tag. Throws MsgpackError. */
export function decodeEvent(reader: MsgpackReader): EngineEvent {
  const fields = noFields();
  const tag = reader.kind() === 'map' ? readMap(reader, fields) : readPositions(reader, fields);
  if (tag === 'BlockStored') return stored(fields);
  if (tag === 'BlockRemoved')
    return { type: 'removed', blockHashes: present(fields.blockHashes, 'block_hashes'), origin: fields.origin };
  if (tag === 'AllBlocksCleared') return { type: 'cleared', origin: fields.origin };
  if (tag === 'Ignored') return { type: 'ignored' };
  throw new MsgpackError(tag === null ? 'an event without a type' : `an event of unknown type ${tag.slice(0, 64)}`);
}

function stored(fields: Fields): EngineEvent {
  const { parentHash, adapterId, sessionId, origin, extraKeys } = fields;
  const adapter = fields.adapter ?? '';
  return {
    type: 'stored',
    blockHashes: present(fields.blockHashes, 'block_hashes'),
    parentHash,
    tokenIds: present(fields.tokenIds, 'token_ids'),
    blockSize: present(fields.blockSize, 'block_size'),
    eagle: fields.bigrams || (fields.eagle ?? false),
    adapter,
    adapterId,
    cacheSalt: fields.cacheSalt ?? cacheSaltOf(extraKeys, adapter),
    media: mediaOf(fields.mediaInfos ?? extraKeys?.map((keys) => keys.media) ?? []),
    sessionId,
    origin,
  };
}

function present<T>(value: T | null, name: string): T {
  if (value === null) throw new MsgpackError(`an event without ${name}`);
  return value;
}

function readMap(reader: MsgpackReader, fields: Fields): string | null {
  let tag: string | null = null;
  for (let left = reader.map(); left > 0; left--) {
    const key = reader.string();
    if (key === 'type') tag = reader.string();
    else readField(reader, fields, key);
  }
  return tag;
}

const storedPositions = 'block_hashes parent_block_hash token_ids block_size lora_id medium lora_name extra_keys'.split(
  ' ',
);
const positions: ReadonlyMap<string, readonly string[]> = new Map([
  ['BlockStored', storedPositions],
  ['BlockRemoved', ['block_hashes', 'medium']],
  ['AllBlocksCleared', ['ownership']],
]);

function readPositions(reader: MsgpackReader, fields: Fields): string {
  let left = reader.array() - 1;
  if (left < 0) throw new MsgpackError('an event that is an empty array');
  const tag = reader.string();
  for (const name of positions.get(tag) ?? []) {
    if (left-- <= 0) return tag;
    readField(reader, fields, name);
  }
  if (tag === 'BlockStored' || tag === 'BlockRemoved') left -= readTail(reader, fields, left);
  for (; left > 0; left--) reader.skip();
  return tag;
}

/** Reads the value of one field; nil is the same as its absence. */
function readField(reader: MsgpackReader, fields: Fields, name: string): void {
  if (reader.nil()) return;
  switch (name) {
    case 'block_hashes':
      fields.blockHashes = decodeColumn(reader);
      return;
    case 'parent_block_hash':
      fields.parentHash = decodeHash(reader);
      return;
    case 'token_ids':
      Object.assign(fields, decodeTokens(reader));
      return;
    case 'block_size':
      fields.blockSize = reader.uint32();
      return;
    case 'lora_id':
      fields.adapterId = reader.number();
      return;
    case 'lora_name':
      readAdapter(reader, fields);
      return;
    case 'cache_salt':
      fields.cacheSalt = reader.string();
      return;
    case 'extra_keys':
      fields.extraKeys = decodeExtraKeys(reader);
      return;
    case 'block_mm_infos':
      fields.mediaInfos = decodeMediaInfos(reader);
      return;
    case 'is_eagle':
      fields.eagle = reader.boolean();
      return;
    case 'session_id':
      fields.sessionId = reader.string();
      return;
    default:
      readOrigin(reader, fields.origin, name);
  }
}

function readOrigin(reader: MsgpackReader, origin: Fields['origin'], name: string): void {
  switch (name) {
    case 'medium':
      // An empty medium is the device, as if it were absent.
      origin.medium = reader.string() || null;
      return;
    case 'group_idx':
      origin.cacheGroup = reader.uint32();
      return;
    case 'kv_cache_spec_kind':
      origin.cacheKind = reader.string();
      return;
    case 'kv_cache_spec_sliding_window':
      origin.slidingWindow = reader.uint32();
      return;
    case 'locality':
      origin.locality = reader.string();
      return;
    case 'ownership':
      origin.ownership = reader.string();
      return;
    default:
      reader.skip();
  }
}

/** SGLang has a map with the cache salt where vLLM has the adapter's name. */
function readAdapter(reader: MsgpackReader, fields: Fields): void {
  if (reader.kind() !== 'map') {
    fields.adapter = reader.string();
    return;
  }
  for (let left = reader.map(); left > 0; left--) {
    const key = reader.string();
    if (key === 'cache_salt' && reader.kind() === 'string') fields.cacheSalt = reader.string();
    else reader.skip();
  }
}

type TailValue = number | string | null | readonly (readonly bigint[])[];

/** Longest tail that means anything. */
const tailLength = 5;

/**
 * The tail has one fixed order (group, kind, window, locality, ownership) and an older one that left out what was
 * absent and may begin with media; kinds of values tell them apart. Returns how many values were read.
 */
function readTail(reader: MsgpackReader, fields: Fields, left: number): number {
  const values: TailValue[] = [];
  while (values.length < Math.min(left, tailLength)) values.push(readTailValue(reader));
  const { origin } = fields;
  if (values.length >= 4 && isFixedTail(values)) {
    const [group, kind, window, locality, ownership] = values;
    if (typeof group === 'number') origin.cacheGroup = group;
    if (typeof kind === 'string') origin.cacheKind = kind;
    if (typeof window === 'number') origin.slidingWindow = window;
    if (typeof locality === 'string') origin.locality = locality;
    if (typeof ownership === 'string') origin.ownership = ownership;
    return values.length;
  }
  for (const value of values) {
    if (typeof value === 'string') origin.cacheKind = value;
    else if (typeof value !== 'number') fields.mediaInfos = value ?? fields.mediaInfos;
    else if (origin.cacheGroup === null) origin.cacheGroup = value;
    else origin.slidingWindow ??= value;
  }
  return values.length;
}

function isFixedTail(values: readonly TailValue[]): boolean {
  const expected = ['number', 'string', 'number', 'string', 'string'];
  return values.every((value, i) => value === null || typeof value === expected[i]);
}

function readTailValue(reader: MsgpackReader): TailValue {
  const kind = reader.kind();
  if (kind === 'integer') return reader.uint32();
  if (kind === 'string') return reader.string();
  if (kind === 'array') return decodeMediaInfos(reader);
  reader.skip();
  return null;
}

function noFields(): Fields {
  return {
    blockHashes: null,
    parentHash: null,
    tokenIds: null,
    bigrams: false,
    blockSize: null,
    adapterId: null,
    adapter: null,
    cacheSalt: null,
    extraKeys: null,
    mediaInfos: null,
    eagle: null,
    sessionId: null,
    origin: {
      medium: null,
      cacheGroup: null,
      cacheKind: null,
      slidingWindow: null,
      locality: null,
      ownership: null,
    },
  };
}
