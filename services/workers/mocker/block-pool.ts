import { create } from '@bufbuild/protobuf';
import { packHashes } from '#core/tokens/packed-hashes.ts';
import { KvBlocksRemovedSchema, KvBlocksStoredSchema, Tier } from '#gen/stator/events/v1/events_pb.ts';
import type { KvEventChange } from '../common/engine.ts';
import type { BlockHash } from './block-hasher.ts';

/** A block whose tokens are all computed, so that other sequences can use it. */
interface HashedBlock {
  readonly hash: BlockHash;
  readonly parent: bigint | null;
  /** Index in its prompt. */
  readonly index: number;
  /** Running sequences that use it. */
  references: number;
}

/**
 * The paged cache: blocks are private while they fill, then found by hash and shared, then kept until something needs
 * their place. Eviction takes the block that has been unused longest, the end of a prefix before its beginning.
 */
export class BlockPool {
  readonly total: number;
  readonly #hashed = new Map<bigint, HashedBlock>();
  /** Hashed blocks that no sequence uses, longest unused first. */
  readonly #idle = new Map<bigint, HashedBlock>();
  #private = 0;
  #events: KvEventChange[] = [];

  constructor(total: number) {
    this.total = total;
  }

  /** Blocks that running sequences hold. */
  get active(): number {
    return this.#private + this.#hashed.size - this.#idle.size;
  }

  /** Blocks kept for later prompts. */
  get cached(): number {
    return this.#idle.size;
  }

  /** Blocks that can be had, by eviction too. */
  get available(): number {
    return this.total - this.active;
  }

  /** How many of these blocks, from the first on, are cached; they are held afterwards. */
  acquire(hashes: readonly BlockHash[]): number {
    let found = 0;
    for (const { sequence } of hashes) {
      if (!this.#hold(sequence)) break;
      found++;
    }
    return found;
  }

  /** Takes private blocks; the caller has checked `available`. */
  allocate(count: number): void {
    while (this.total - this.#private - this.#hashed.size < count) this.#evict();
    this.#private += count;
  }

  /** A private block is full and computed: it becomes shared. */
  commit(hash: BlockHash, parent: bigint | null, index: number): void {
    this.#private--;
    if (this.#hold(hash.sequence)) return;
    this.#hashed.set(hash.sequence, { hash, parent, index, references: 1 });
    this.#events.push(storedChange(parent, [hash], index));
  }

  /** A sequence is over: its hashed blocks in prefix order, and how many private ones it has. */
  release(hashes: readonly BlockHash[], privateBlocks: number): void {
    this.#private -= privateBlocks;
    for (const { sequence } of hashes.toReversed()) {
      const block = this.#hashed.get(sequence);
      if (block === undefined) continue;
      block.references--;
      if (block.references === 0) this.#idle.set(sequence, block);
    }
  }

  /** Forgets what no sequence uses; returns how many. */
  clear(): number {
    const hashes = [...this.#idle.keys()];
    for (const hash of hashes) this.#hashed.delete(hash);
    this.#idle.clear();
    if (hashes.length > 0) this.#events.push(removedChange(hashes));
    return hashes.length;
  }

  /** What changed since the last call. */
  takeEvents(): KvEventChange[] {
    if (this.#events.length === 0) return [];
    const events = this.#events;
    this.#events = [];
    return events;
  }

  /**
   * Every hashed block, parents before children: blocks are inserted in that order and a parent never leaves first. Changes
   * while it is read do no harm: an iterator of a map misses nothing that stays.
   */
  *snapshot(): Generator<KvEventChange> {
    let run: HashedBlock[] = [];
    for (const block of this.#hashed.values()) {
      if (run.length > 0 && block.parent !== run.at(-1)?.hash.sequence) {
        yield runChange(run);
        run = [];
      }
      run.push(block);
    }
    if (run.length > 0) yield runChange(run);
  }

  #hold(sequence: bigint): boolean {
    const block = this.#hashed.get(sequence);
    if (block === undefined) return false;
    if (block.references === 0) this.#idle.delete(sequence);
    block.references++;
    return true;
  }

  #evict(): void {
    const [hash] = this.#idle.keys();
    if (hash === undefined) throw new RangeError('no block is left to evict');
    this.#idle.delete(hash);
    this.#hashed.delete(hash);
    this.#events.push(removedChange([hash]));
  }
}

function runChange(run: readonly HashedBlock[]): KvEventChange {
  const [first] = run;
  return storedChange(
    first?.parent ?? null,
    run.map((block) => block.hash),
    first?.index ?? 0,
  );
}

function storedChange(parent: bigint | null, blocks: readonly BlockHash[], startBlock: number): KvEventChange {
  const value = create(KvBlocksStoredSchema, {
    sequenceHashes: packHashes(BigUint64Array.from(blocks, (block) => block.sequence)),
    localHashes: packHashes(BigUint64Array.from(blocks, (block) => block.local)),
    tier: Tier.DEVICE,
    startBlock,
    ...(parent !== null && { parentSequenceHash: parent }),
  });
  return { dataParallelRank: 0, change: { case: 'stored', value } };
}

function removedChange(sequenceHashes: bigint[]): KvEventChange {
  const value = create(KvBlocksRemovedSchema, {
    sequenceHashes: packHashes(BigUint64Array.from(sequenceHashes)),
    tier: Tier.DEVICE,
  });
  return { dataParallelRank: 0, change: { case: 'removed', value } };
}
