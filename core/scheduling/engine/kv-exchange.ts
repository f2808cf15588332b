import type { BlockPool } from './block-pool.ts';
import type { KvChangeLog } from './kv-change-log.ts';

const device = 0;

/** The full blocks of a prompt from its start: hashes in two words each, low first. */
export interface ExchangedPrompt {
  readonly hashes: Uint32Array;
  /** Local hashes. */
  readonly locals: Uint32Array;
}

/** Blocks that do not leave the cache; numbers of the pool. */
export interface HeldBlocks {
  readonly blocks: Int32Array;
}

/** Blocks that are being written, after held ones. */
export interface TakenBlocks {
  readonly prompt: ExchangedPrompt;
  readonly before: HeldBlocks;
  readonly blocks: Int32Array;
}

/** How blocks of a paged cache leave and enter it beside its sequences. */
export class KvExchange {
  readonly #pool: BlockPool;
  readonly #log: KvChangeLog | undefined;
  readonly #running: () => number;
  #held = 0;

  /** `running`: sequences, each of which may need another block at once. */
  constructor(pool: BlockPool, log: KvChangeLog | undefined, running: () => number) {
    this.#pool = pool;
    this.#log = log;
    this.#running = running;
  }

  /** Blocks that are held or taken, counted as often as they are. */
  get held(): number {
    return this.#held;
  }

  /** Leading blocks that are cached, of at most `limit`. */
  cached({ hashes }: ExchangedPrompt, limit: number): number {
    let count = 0;
    while (count < limit && this.#pool.find(hashes[2 * count] ?? 0, hashes[2 * count + 1] ?? 0) >= 0) count++;
    return count;
  }

  /** Keeps those of the first `count` blocks that are cached without a gap. */
  hold(prompt: ExchangedPrompt, count: number): HeldBlocks {
    const blocks = new Int32Array(this.cached(prompt, count));
    for (const index of blocks.keys()) {
      const block = this.#pool.find(prompt.hashes[2 * index] ?? 0, prompt.hashes[2 * index + 1] ?? 0);
      this.#pool.hold(block);
      blocks[index] = block;
    }
    this.#held += blocks.length;
    return { blocks };
  }

  release({ blocks }: HeldBlocks): void {
    for (let i = blocks.length - 1; i >= 0; i--) this.#pool.release(blocks[i] ?? 0);
    this.#held -= blocks.length;
    this.#pool.generation++;
  }

  /**
   * Room for `count` blocks from `from` on; `missing`: the blocks before are not all cached, `full`: running sequences need
   * the room.
   */
  take(prompt: ExchangedPrompt, from: number, count: number): TakenBlocks | 'missing' | 'full' {
    const before = this.hold(prompt, from);
    if (before.blocks.length < from || this.#pool.available < count + this.#running()) {
      this.release(before);
      return before.blocks.length < from ? 'missing' : 'full';
    }
    const blocks = Int32Array.from({ length: count }, () => this.#pool.allocate());
    this.#held += count;
    return { prompt, before, blocks };
  }

  /** Lets others find the first `sound` blocks, forgets the rest, and keeps the prompt up to there. */
  accept(taken: TakenBlocks, sound: number): HeldBlocks {
    const { prompt, before, blocks } = taken;
    for (let i = blocks.length - 1; i >= sound; i--) this.#pool.release(blocks[i] ?? 0);
    for (let i = 0; i < sound; i++) blocks[i] = this.#commit(prompt, before.blocks.length + i, blocks[i] ?? 0);
    this.#held -= blocks.length - sound;
    this.#log?.stamp(0);
    this.#pool.generation++;
    const held = new Int32Array(before.blocks.length + sound);
    held.set(before.blocks);
    held.set(blocks.subarray(0, sound), before.blocks.length);
    return { blocks: held };
  }

  /** Returns the block that has the content: this one, or one that a sequence computed meanwhile. */
  #commit({ hashes, locals }: ExchangedPrompt, index: number, block: number): number {
    const [low = 0, high = 0] = hashes.subarray(2 * index, 2 * index + 2);
    const known = this.#pool.find(low, high);
    if (known >= 0) {
      this.#pool.hold(known);
      this.#pool.release(block);
      return known;
    }
    const [parentLow = 0, parentHigh = 0] = index === 0 ? [] : hashes.subarray(2 * index - 2, 2 * index);
    const [localLow = 0, localHigh = 0] = locals.subarray(2 * index, 2 * index + 2);
    const identity = { low, high, parentLow, parentHigh, localLow, localHigh, index };
    if (this.#pool.commit(block, identity)) this.#log?.stored(device, identity);
    return block;
  }
}
