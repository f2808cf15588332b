import type { BlockMedia } from '../tokens/block-hash.ts';
import { mediaHashOfMarker } from '../tokens/media-hash.ts';
import { decodeHash } from './decode-columns.ts';
import type { MsgpackReader } from './msgpack-reader.ts';

/** What the extra keys of a block's hash tell: texts (adapter, salt, …) and hashes of media. */
export interface BlockKeys {
  readonly texts: readonly string[];
  readonly media: readonly bigint[];
}

/** Before a cache salt that was given to an engine, so that it is told from other extra keys. */
const saltPrefixes = ['dynamo-cache-salt:', 'stator-cache-salt:'];

/**
 * Extra keys: for each block nil or a list of texts, [identifier, offset] pairs, and things of no interest. Media count
 * only under a marker of ours (`mediaMarker`): an engine's own digest says nothing that the prompt's sender could know.
 */
export function decodeExtraKeys(reader: MsgpackReader): BlockKeys[] {
  const blocks: BlockKeys[] = [];
  for (let left = reader.array(); left > 0; left--) blocks.push(decodeBlockKeys(reader));
  return blocks;
}

function decodeBlockKeys(reader: MsgpackReader): BlockKeys {
  const texts: string[] = [];
  const media: bigint[] = [];
  if (reader.nil()) return { texts, media };
  for (let left = reader.array(); left > 0; left--) {
    const text = reader.kind() === 'string' ? reader.string() : null;
    const identifier = text ?? decodeIdentifier(reader);
    if (text !== null) texts.push(text);
    const hash = identifier === null ? null : mediaHashOfMarker(identifier);
    if (hash !== null) media.push(hash);
  }
  return { texts, media };
}

/** The first of a pair [identifier, offset]; null, and passed over, for anything else. */
function decodeIdentifier(reader: MsgpackReader): string | null {
  if (reader.kind() !== 'array') {
    reader.skip();
    return null;
  }
  const start = reader.position;
  const identifier = reader.array() === 2 && reader.kind() === 'string' ? reader.string() : null;
  reader.seek(start);
  reader.skip();
  return identifier;
}

/** vLLM names the salt in the extra keys of a prompt's first block. A text equal to the adapter's name is that, once. */
export function cacheSaltOf(blocks: readonly BlockKeys[] | null, adapter: string): string {
  let adapterToCome = adapter !== '';
  for (const text of blocks?.[0]?.texts ?? []) {
    if (adapterToCome && text === adapter) {
      adapterToCome = false;
      continue;
    }
    const prefix = saltPrefixes.find((p) => text.startsWith(p));
    if (prefix !== undefined && text.length > prefix.length) return text.slice(prefix.length);
  }
  return '';
}

/** For each block nil or {mm_objects: [{mm_hash, offsets}]}, as a map or as nested arrays. */
export function decodeMediaInfos(reader: MsgpackReader): bigint[][] {
  const blocks: bigint[][] = [];
  for (let left = reader.array(); left > 0; left--) blocks.push(decodeMediaInfo(reader));
  return blocks;
}

function decodeMediaInfo(reader: MsgpackReader): bigint[] {
  if (reader.nil()) return [];
  const hashes: bigint[] = [];
  onField(reader, 'mm_objects', () => {
    for (let left = reader.array(); left > 0; left--) onField(reader, 'mm_hash', () => hashes.push(decodeHash(reader)));
  });
  return hashes;
}

/** Reads one field of a structure that is a map, or an array with that field first; passes over the others. */
function onField(reader: MsgpackReader, name: string, read: () => void): void {
  if (reader.kind() !== 'map') {
    const length = reader.array();
    if (length > 0) read();
    for (let i = 1; i < length; i++) reader.skip();
    return;
  }
  for (let left = reader.map(); left > 0; left--) {
    if (reader.string() === name) read();
    else reader.skip();
  }
}

/** Media of all blocks as columns; null when there are none. */
export function mediaOf(blocks: readonly (readonly bigint[])[]): BlockMedia | null {
  const hashes = BigUint64Array.from(blocks.flat());
  if (hashes.length === 0) return null;
  return { blocks: Uint32Array.from(blocks.flatMap((list, block) => list.map(() => block))), hashes };
}
