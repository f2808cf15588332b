import type { Tier } from '#gen/stator/events/v1/events_pb.ts';
import { HashRows } from './hash-rows.ts';

/** Tiers are counted separately, in one word each: device, host, disk, external. */
const tierCount = 4;

// Words of a block's row after its sequence hash.
const local = 2;
const parent = 4;
const salt = 6;
const start = 8;
const flags = 9;
const blockHolders = 10;

// Words of an engine hash's row after it.
const blockRow = 2;
const copies = 3;

const startsPrompt = 1;

/** A block as its place in prompts makes it. */
export interface LedgerBlock {
  readonly sequenceHash: bigint;
  readonly localHash: bigint;
  /** Null: it starts a prompt. */
  readonly parent: bigint | null;
  /** Hash of the cache salt that its children inherit; 0 for none. */
  readonly saltHash: bigint;
  /** Index in the prompt. */
  readonly position: number;
}

/**
 * Which blocks one rank holds, by the engine's hash of each. Several engine hashes may mean the same block, and the
 * engine may hold a block several times: a block is in a tier until every copy has left it.
 */
export class BlockLedger {
  readonly #blocks = new HashRows(blockHolders + tierCount);
  readonly #ids = new HashRows(copies + tierCount);

  /** Distinct blocks, in any tier. */
  get blocks(): number {
    return this.#blocks.count;
  }

  /** Engine hashes. */
  get ids(): number {
    return this.#ids.count;
  }

  get bytes(): number {
    return this.#blocks.bytes + this.#ids.bytes;
  }

  /** The block that an engine hash means. */
  find(id: bigint): LedgerBlock | undefined {
    const row = this.#ids.find(low(id), high(id));
    return row < 0 ? undefined : this.#read(this.#ids.words[row * this.#ids.width + blockRow] ?? 0);
  }

  /** Another copy of the block that an engine hash means already. True when the tier had none; the hash must be known. */
  addCopy(id: bigint, tier: Tier): boolean {
    return this.#count(this.#ids.find(low(id), high(id)), tier, 1) === 1;
  }

  /** A copy under a hash that is not known yet. True when the tier had none. */
  add(id: bigint, block: LedgerBlock, tier: Tier): boolean {
    const known = this.#blocks.find(low(block.sequenceHash), high(block.sequenceHash));
    const blockOfId = known < 0 ? this.#write(block) : known;
    const row = this.#ids.add(low(id), high(id));
    this.#ids.words[row * this.#ids.width + blockRow] = blockOfId;
    return this.#count(row, tier, 1) === 1;
  }

  /** Takes a copy away. The sequence hash when it was the tier's last, null when others are left, undefined when unknown. */
  remove(id: bigint, tier: Tier): bigint | null | undefined {
    const row = this.#ids.find(low(id), high(id));
    if (row < 0 || this.#ids.words[row * this.#ids.width + copies + tier - 1] === 0) return undefined;
    const block = this.#ids.words[row * this.#ids.width + blockRow] ?? 0;
    const sequenceHash = this.#hashAt(block, 0);
    const left = this.#count(row, tier, -1);
    if (isEmpty(this.#ids, row, copies)) this.#ids.delete(row);
    if (isEmpty(this.#blocks, block, blockHolders)) this.#blocks.delete(block);
    return left === 0 ? sequenceHash : null;
  }

  clear(): void {
    this.#blocks.clear();
    this.#ids.clear();
  }

  /** Every block that a tier holds, those nearer to the start of their prompts first. */
  inTier(tier: Tier): LedgerBlock[] {
    const { words, width } = this.#blocks;
    const rows = [...this.#blocks.rows()].filter((row) => words[row * width + blockHolders + tier - 1] !== 0);
    rows.sort((a, b) => (words[a * width + start] ?? 0) - (words[b * width + start] ?? 0));
    return rows.map((row) => this.#read(row));
  }

  /** Changes a tier's copies of an engine hash, and of its block; returns how many the block has there. */
  #count(idRow: number, tier: Tier, change: 1 | -1): number {
    const word = idRow * this.#ids.width;
    const block = this.#ids.words[word + blockRow] ?? 0;
    this.#ids.words[word + copies + tier - 1] = (this.#ids.words[word + copies + tier - 1] ?? 0) + change;
    const holders = block * this.#blocks.width + blockHolders + tier - 1;
    const total = (this.#blocks.words[holders] ?? 0) + change;
    this.#blocks.words[holders] = total;
    return total;
  }

  #write(block: LedgerBlock): number {
    const row = this.#blocks.add(low(block.sequenceHash), high(block.sequenceHash));
    const word = row * this.#blocks.width;
    const { words } = this.#blocks;
    for (const [at, hash] of [
      [local, block.localHash],
      [parent, block.parent ?? 0n],
      [salt, block.saltHash],
    ] as const) {
      words[word + at] = low(hash);
      words[word + at + 1] = high(hash);
    }
    words[word + start] = block.position;
    words[word + flags] = block.parent === null ? startsPrompt : 0;
    return row;
  }

  #read(row: number): LedgerBlock {
    const word = row * this.#blocks.width;
    return {
      sequenceHash: this.#hashAt(row, 0),
      localHash: this.#hashAt(row, local),
      parent: this.#blocks.words[word + flags] === startsPrompt ? null : this.#hashAt(row, parent),
      saltHash: this.#hashAt(row, salt),
      position: this.#blocks.words[word + start] ?? 0,
    };
  }

  #hashAt(row: number, at: number): bigint {
    const word = row * this.#blocks.width + at;
    return (BigInt(this.#blocks.words[word + 1] ?? 0) << 32n) | BigInt(this.#blocks.words[word] ?? 0);
  }
}

function isEmpty(rows: HashRows, row: number, counts: number): boolean {
  const word = row * rows.width + counts;
  for (let tier = 0; tier < tierCount; tier++) if (rows.words[word + tier] !== 0) return false;
  return true;
}

function low(hash: bigint): number {
  return Number(hash & 0xffffffffn);
}

function high(hash: bigint): number {
  return Number(hash >> 32n);
}
