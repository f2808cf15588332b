// The data file that both sides read: 32-bit words, little-endian; 64-bit hashes are two words, the low one first.
// Header (32 words), then the sections below one after the other.
//   local, sequence   hashes of each node of the prefix tree, then those of blocks that nobody has
//   nodes             the nodes of each sequence, side by side
//   stores, removals, mixedStores, mixedRemovals
//                     changes of 4 words: worker, offset in `nodes`, blocks, whether the block before the first counts as parent
//   queries (4 sets)  of 3 words: offset of the sequence in `nodes`, its worker, first of the unknown blocks that follow
import { readFile } from 'node:fs/promises';

export const MAGIC = 0x4b564931;
export const HEADER_WORDS = 32;
/** Events in a message, as long as there are so many of one worker in a row. */
export const MESSAGE_EVENTS = 512;
export const EVENT_BLOCKS = 16;

/** Words of the header. */
export const header = { magic: 0, hashes: 1, nodes: 2, changes: 3, entries: 7, workers: 8, querySets: 10 } as const;

export interface QuerySet {
  readonly length: number;
  /** Blocks from its start that are stored. */
  readonly depth: number;
  readonly name: string;
}

export const querySets: readonly QuerySet[] = [
  { length: 64, depth: 32, name: '64 blocks, 50 %' },
  { length: 64, depth: 61, name: '64 blocks, 95 %' },
  { length: 512, depth: 256, name: '512 blocks, 50 %' },
  { length: 512, depth: 487, name: '512 blocks, 95 %' },
];

export const changeSections = ['stores', 'removals', 'mixedStores', 'mixedRemovals'] as const;
export type ChangeSection = (typeof changeSections)[number];

export interface Query {
  /** Packed sequence hashes. */
  readonly hashes: Uint8Array;
  readonly owner: number;
}

/** A data file in memory. */
export interface Data {
  /** Distinct (worker, block) pairs after all stores. */
  readonly entries: number;
  readonly workers: number;
  /** Two words for each node. */
  readonly sequenceHashes: Uint32Array;
  readonly nodes: Uint32Array;
  readonly changes: Readonly<Record<ChangeSection, Uint32Array>>;
  readonly querySets: readonly Uint32Array[];
}

export async function readData(file: string): Promise<Data> {
  const bytes = await readFile(file);
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  const word = (at: number): number => words[at] ?? 0;
  if (word(header.magic) !== MAGIC) throw new Error(`${file} is no data file of this benchmark`);
  let at = HEADER_WORDS;
  const take = (count: number): Uint32Array => {
    at += count;
    return words.subarray(at - count, at);
  };
  take(2 * word(header.hashes));
  const sequenceHashes = take(2 * word(header.hashes));
  const nodes = take(word(header.nodes));
  const section = (i: number): Uint32Array => take(4 * word(header.changes + i));
  const changes = { stores: section(0), removals: section(1), mixedStores: section(2), mixedRemovals: section(3) };
  const queries = querySets.map((_, set) => take(3 * word(header.querySets + 3 * set)));
  if (at !== words.length) throw new Error(`${file} is cut off`);
  return {
    entries: word(header.entries),
    workers: word(header.workers),
    sequenceHashes,
    nodes,
    changes,
    querySets: queries,
  };
}

/** The queries of a set, each a column of packed hashes in one array for all. */
export function queriesOf(data: Data, set: number): Query[] {
  const { length, depth } = setAt(set);
  const rows = data.querySets[set] ?? new Uint32Array(0);
  const all = new Uint32Array((rows.length / 3) * length * 2);
  const queries: Query[] = [];
  for (let row = 0; row < rows.length; row += 3) {
    const [offset = 0, owner = 0, unknown = 0] = rows.subarray(row, row + 3);
    const column = all.subarray((row / 3) * length * 2, (row / 3 + 1) * length * 2);
    for (let i = 0; i < length; i++) {
      const node = i < depth ? (data.nodes[offset + i] ?? 0) : unknown + i - depth;
      column.set(data.sequenceHashes.subarray(node * 2, node * 2 + 2), i * 2);
    }
    queries.push({ hashes: new Uint8Array(column.buffer, column.byteOffset, column.byteLength), owner });
  }
  return queries;
}

export function setAt(set: number): QuerySet {
  const found = querySets[set];
  if (found === undefined) throw new RangeError(`there is no query set ${set}`);
  return found;
}
