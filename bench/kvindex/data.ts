// Makes the data of a cell from its seed: what workers hold, the events that say so, and prompts to look up.
import { existsSync } from 'node:fs';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { EVENT_BLOCKS, HEADER_WORDS, header, MAGIC, MESSAGE_EVENTS, type QuerySet, querySets } from './layout.ts';
import { Random } from './random.ts';

export interface Shape {
  /** Blocks of all sequences together. */
  readonly blocks: number;
  readonly workers: number;
  /** Blocks at the start that all sequences have in common: a system prompt. */
  readonly commonBlocks: number;
}

/** Part of the cached files' names: a change of the generator must change it. */
const VERSION = 2;
const SEED = 20_261_121;
const GROUP = 16;
const UNKNOWN_BLOCKS = 65_536;
const MIXED_MESSAGES = 16;

interface Sequence {
  readonly length: number;
  readonly worker: number;
  /** Sequences of a group share their first quarter. */
  readonly group: number;
  /** Where its nodes begin in the column of nodes. */
  offset: number;
}

/** The file of a cell, made if it is not there yet. */
export async function dataFile(folder: string, shape: Shape): Promise<string> {
  const { blocks, workers, commonBlocks } = shape;
  const file = path.join(folder, `data-v${VERSION}-${blocks}-${workers}-${commonBlocks}.bin`);
  if (existsSync(file)) return file;
  await mkdir(folder, { recursive: true });
  const partial = `${file}.${process.pid}.partial`;
  await writeFile(partial, new Uint8Array(new Generator(shape).run().buffer));
  await rename(partial, file);
  return file;
}

/** A list of words that grows. */
class Words {
  #words = new Uint32Array(1024);
  length = 0;

  push(word: number): void {
    if (this.length === this.#words.length) {
      const wider = new Uint32Array(this.length * 2);
      wider.set(this.#words);
      this.#words = wider;
    }
    this.#words[this.length++] = word;
  }

  get all(): Uint32Array {
    return this.#words.subarray(0, this.length);
  }
}

class Generator {
  readonly #shape: Shape;
  readonly #random: Random;
  readonly #nodes = new Words();
  #nextNode: number;
  readonly #groupNodes = new Map<number, number>();

  constructor(shape: Shape) {
    this.#shape = shape;
    this.#random = new Random(SEED);
    this.#nextNode = shape.commonBlocks;
  }

  run(): Uint32Array {
    const sequences = this.#sequences();
    const held = new Holdings(this.#shape);
    const stores = inMessages(sequences, this.#shape.workers, (sequence, out) => held.store(sequence, out));
    const entries = sumOfBlocks(stores);
    const keepsCommon = new Uint8Array(this.#shape.workers).map((_, worker) => (held.hasCommon(worker) ? 1 : 0));
    const removals = inMessages(sequences, this.#shape.workers, (sequence, out) => held.remove(sequence, out));
    if (sumOfBlocks(removals) !== entries) throw new Error('the generator removes other blocks than it stores');
    const mixed = this.#mixed(keepsCommon);
    const unknown = this.#nextNode;
    const queries = querySets.map((set) => this.#queries(sequences, set, unknown));
    const hashes = unknown + UNKNOWN_BLOCKS;
    const head = new Uint32Array(HEADER_WORDS);
    head[header.magic] = MAGIC;
    head[header.hashes] = hashes;
    head[header.nodes] = this.#nodes.length;
    head.set(
      [stores, removals, mixed.stores, mixed.removals].map((list) => list.length / 4),
      header.changes,
    );
    head[header.entries] = entries;
    head[header.workers] = this.#shape.workers;
    for (const [i, set] of querySets.entries())
      head.set([(queries[i]?.length ?? 0) / 3, set.length, set.depth], header.querySets + 3 * i);
    return concatenate([
      head,
      hashColumn(hashes, 0x9e3779b9),
      hashColumn(hashes, 0x7f4a7c15),
      this.#nodes.all,
      stores,
      removals,
      mixed.stores,
      mixed.removals,
      ...queries,
    ]);
  }

  /** Half of the blocks in sequences of 512, half in sequences of 64, shuffled; each on one worker. */
  #sequences(): Sequence[] {
    const sequences: Sequence[] = [];
    for (const length of [512, 64]) {
      const count = Math.round(this.#shape.blocks / 2 / length);
      const firstGroup = sequences.length;
      for (let i = 0; i < count; i++) {
        const group = firstGroup + Math.floor(i / GROUP);
        sequences.push({ length, worker: this.#random.below(this.#shape.workers), group, offset: 0 });
      }
    }
    this.#random.shuffle(sequences);
    for (const sequence of sequences) this.#layOut(sequence, this.#nodesOfGroup(sequence), sequence.length / 4);
    return sequences;
  }

  #nodesOfGroup({ group, length }: Sequence): number {
    const known = this.#groupNodes.get(group);
    if (known !== undefined) return known;
    const first = this.#nextNode;
    this.#nextNode += length / 4;
    this.#groupNodes.set(group, first);
    return first;
  }

  #layOut(sequence: Sequence, groupNodes: number, sharedBlocks: number): void {
    sequence.offset = this.#nodes.length;
    for (let i = 0; i < sequence.length; i++) {
      if (i < this.#shape.commonBlocks) this.#nodes.push(i);
      else if (i < sharedBlocks) this.#nodes.push(groupNodes + i);
      else this.#nodes.push(this.#nextNode++);
    }
  }

  /** Messages of new sequences, each of one worker; where workers have the common prefix, only what follows it. */
  #mixed(keepsCommon: Uint8Array): { stores: Uint32Array; removals: Uint32Array } {
    const [stores, removals] = [new Words(), new Words()];
    for (let message = 0; message < MIXED_MESSAGES; message++) {
      const worker = this.#random.below(this.#shape.workers);
      const from = keepsCommon[worker] === 1 ? this.#shape.commonBlocks : 0;
      const lengths = [512, 64].flatMap((length) =>
        Array<number>(MESSAGE_EVENTS / 2 / (length / EVENT_BLOCKS)).fill(length),
      );
      this.#random.shuffle(lengths);
      for (const length of lengths) {
        const sequence: Sequence = { length, worker, group: -1, offset: 0 };
        this.#layOut(sequence, 0, 0);
        pushChanges(stores, sequence, from, false);
        pushChanges(removals, sequence, from, true);
      }
    }
    return { stores: stores.all, removals: removals.all };
  }

  #queries(sequences: readonly Sequence[], { length, depth }: QuerySet, unknown: number): Uint32Array {
    const candidates = sequences.filter((sequence) => sequence.length === length);
    const large = this.#shape.blocks > 2_000_000 ? 4 : 1;
    const words = new Words();
    for (let i = 0; i < (large * 524_288) / length; i++) {
      const sequence = candidates[this.#random.below(candidates.length)];
      if (sequence === undefined) throw new Error('too few blocks for a query');
      words.push(sequence.offset);
      words.push(sequence.worker);
      words.push(unknown + this.#random.below(UNKNOWN_BLOCKS - length + depth));
    }
    return words.all;
  }
}

/** Which prefixes each worker has, by the number of its sequences that begin with them: it stores and frees a block once. */
class Holdings {
  readonly #shape: Shape;
  readonly #groups = new Map<number, number>();
  readonly #sequences: Uint32Array;

  constructor(shape: Shape) {
    this.#shape = shape;
    this.#sequences = new Uint32Array(shape.workers);
  }

  hasCommon(worker: number): boolean {
    return this.#count(worker) > 0;
  }

  store(sequence: Sequence, out: Words): void {
    pushChanges(out, sequence, this.#held(sequence), false);
    this.#add(sequence, 1);
  }

  remove(sequence: Sequence, out: Words): void {
    this.#add(sequence, -1);
    pushChanges(out, sequence, this.#held(sequence), true);
  }

  /** Blocks from its start that other sequences of its worker keep. */
  #held({ worker, group, length }: Sequence): number {
    if ((this.#groups.get(this.#key(worker, group)) ?? 0) > 0) return length / 4;
    return this.#count(worker) > 0 ? this.#shape.commonBlocks : 0;
  }

  #add({ worker, group }: Sequence, change: number): void {
    const key = this.#key(worker, group);
    this.#groups.set(key, (this.#groups.get(key) ?? 0) + change);
    this.#sequences[worker] = this.#count(worker) + change;
  }

  #count(worker: number): number {
    return this.#sequences[worker] ?? 0;
  }

  #key(worker: number, group: number): number {
    return group * this.#shape.workers + worker;
  }
}

/** Events for the blocks of a sequence from some block on; those that free blocks begin at its end. */
function pushChanges(out: Words, sequence: Sequence, from: number, removal: boolean): void {
  const starts: number[] = [];
  for (let start = from; start < sequence.length; start = (Math.floor(start / EVENT_BLOCKS) + 1) * EVENT_BLOCKS)
    starts.push(start);
  const ends = [...starts.slice(1), sequence.length];
  const order = starts.map((start, i) => ({ start, count: (ends[i] ?? start) - start }));
  for (const { start, count } of removal ? order.reverse() : order) {
    out.push(sequence.worker);
    out.push(sequence.offset + start);
    out.push(count);
    out.push(start > 0 ? 1 : 0);
  }
}

/** The changes of all sequences, as messages of single workers that take turns. */
function inMessages(
  sequences: readonly Sequence[],
  workers: number,
  change: (sequence: Sequence, out: Words) => void,
): Uint32Array {
  const lists = Array.from({ length: workers }, () => new Words());
  for (const sequence of sequences) change(sequence, lists[sequence.worker] as Words);
  const parts: Uint32Array[] = [];
  const longest = Math.max(...lists.map((list) => list.length));
  for (let at = 0; at < longest; at += MESSAGE_EVENTS * 4)
    for (const list of lists) parts.push(list.all.subarray(at, at + MESSAGE_EVENTS * 4));
  return concatenate(parts);
}

function sumOfBlocks(changes: Uint32Array): number {
  let sum = 0;
  for (let i = 2; i < changes.length; i += 4) sum += changes[i] ?? 0;
  return sum;
}

/** A 64-bit hash for each number, different for each: both halves by MurmurHash3's finalizer, a bijection. */
function hashColumn(count: number, seed: number): Uint32Array {
  const column = new Uint32Array(count * 2);
  for (let i = 0; i < count; i++) {
    column[i * 2] = finalize(i ^ seed);
    column[i * 2 + 1] = finalize(Math.imul(i, 0x2545f491) ^ ~seed);
  }
  return column;
}

function finalize(word: number): number {
  let mixed = word;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return mixed ^ (mixed >>> 16);
}

function concatenate(parts: readonly Uint32Array[]): Uint32Array {
  const all = new Uint32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
