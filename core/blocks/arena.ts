import type { EvictionPolicy, EvictionPolicyFactory } from './eviction/policy.ts';
import { none, SlotLists } from './slot-lists.ts';

/**
 * Where a slot is in its life: Reset → Partial (someone writes into it) → Complete (written, its checksum known) →
 * Registered (found by others) → Reset. Two ways aside: Doomed slots were purged while someone reads them, Revoked ones
 * belong to a writer who lost the right to commit and may still write; neither is reused before its last user is gone.
 */
export const slotStates = { reset: 0, partial: 1, complete: 2, registered: 3, doomed: 4, revoked: 5 } as const;

export type SlotState = (typeof slotStates)[keyof typeof slotStates];

const stateCount = 6;

export interface ArenaSpec {
  /** Bytes of one block in this layout. */
  readonly blockBytes: number;
  /** Blocks that fit. */
  readonly blocks: number;
  readonly eviction: EvictionPolicyFactory;
  /** Changes whenever slots may have new owners without their generations telling (a new slab, a restart). */
  readonly epoch: number;
  /** Where generations live, so that readers of a slab see them change: one word a slot. Unset: in private memory. */
  readonly generations?: Uint32Array;
  /** True: slots are adopted from records before the arena is opened for writers. */
  readonly recovering?: boolean;
}

/**
 * The slots of one layout in one tier, in columns: 46 bytes a slot beside the eviction policy. A slot's generation is
 * one incarnation: it changes each time the slot becomes free, so whoever names an old one is told apart.
 */
export class Arena {
  readonly blocks: number;
  readonly blockBytes: number;
  readonly epoch: number;
  readonly policy: EvictionPolicy;
  readonly generations: Uint32Array;
  /** Row of the block table; -1 for none. */
  readonly rows: Int32Array;
  /** Readers of each slot. */
  readonly pins: Uint32Array;
  readonly priorities: Uint8Array;
  readonly tenants: Uint32Array;
  /** Checksum of the bytes, as low and high word. */
  readonly checksums: Uint32Array;
  /** Bytes of the block in the slot: at most `blockBytes`. */
  readonly sizes: Uint32Array;
  /** Registered slots by tenant (list 2t, longest unused first) and slots that are being written by writer (list 2w + 1). */
  readonly lists: SlotLists;
  readonly #states: Uint8Array;
  readonly #inState = new Int32Array(stateCount);
  /** Free slots as a ring, the one that is longest free first: what a late writer spoils is what nobody has yet. */
  readonly #ring: Uint32Array;
  #ringStart = 0;
  #ringSize = 0;
  #open = false;

  constructor(spec: ArenaSpec) {
    const { blocks } = spec;
    this.blocks = blocks;
    this.blockBytes = spec.blockBytes;
    this.epoch = spec.epoch;
    this.policy = spec.eviction(blocks);
    this.generations = spec.generations ?? new Uint32Array(blocks);
    if (this.generations.length < blocks)
      throw new RangeError(`${this.generations.length} generations, ${blocks} blocks`);
    this.rows = new Int32Array(blocks).fill(none);
    this.pins = new Uint32Array(blocks);
    this.priorities = new Uint8Array(blocks);
    this.tenants = new Uint32Array(blocks);
    this.checksums = new Uint32Array(2 * blocks);
    this.sizes = new Uint32Array(blocks);
    this.lists = new SlotLists(blocks);
    this.#states = new Uint8Array(blocks);
    this.#ring = new Uint32Array(blocks);
    this.#inState[slotStates.reset] = blocks;
    if (spec.recovering !== true) this.open();
  }

  /** Makes every slot that nothing was adopted into free. */
  open(): void {
    if (this.#open) return;
    this.#open = true;
    for (let slot = 0; slot < this.blocks; slot++) if (this.#states[slot] === slotStates.reset) this.#give(slot);
  }

  get isOpen(): boolean {
    return this.#open;
  }

  get free(): number {
    return this.#ringSize;
  }

  get bytes(): number {
    const columns = [this.generations, this.rows, this.pins, this.priorities, this.tenants, this.checksums, this.sizes];
    const fixed = columns.reduce((sum, column) => sum + column.byteLength, 0);
    return fixed + this.#states.byteLength + this.#ring.byteLength + this.lists.bytes + this.policy.bytes;
  }

  count(state: SlotState): number {
    return this.#inState[state] ?? 0;
  }

  stateOf(slot: number): SlotState {
    return (this.#states[slot] ?? slotStates.reset) as SlotState;
  }

  setState(slot: number, state: SlotState): void {
    const was = this.stateOf(slot);
    this.#inState[was] = (this.#inState[was] ?? 0) - 1;
    this.#inState[state] = (this.#inState[state] ?? 0) + 1;
    this.#states[slot] = state;
  }

  generationOf(slot: number): number {
    return this.generations[slot] ?? 0;
  }

  /** The slot that has been free for longest, now Partial; -1 when none is free. */
  take(): number {
    if (this.#ringSize === 0) return none;
    const slot = this.#ring[this.#ringStart] ?? 0;
    this.#ringStart = (this.#ringStart + 1) % this.blocks;
    this.#ringSize--;
    this.setState(slot, slotStates.partial);
    return slot;
  }

  /** Ends an incarnation: the slot is free, and every ticket for it is of a generation that is gone. */
  reset(slot: number): void {
    this.lists.remove(slot);
    this.policy.remove(slot);
    this.rows[slot] = none;
    this.setState(slot, slotStates.reset);
    // Readers in other processes look at this word; it must be seen before the slot's bytes change.
    Atomics.store(this.generations, slot, (this.generationOf(slot) + 1) >>> 0);
    this.#give(slot);
  }

  #give(slot: number): void {
    this.#ring[(this.#ringStart + this.#ringSize) % this.blocks] = slot;
    this.#ringSize++;
  }
}

/** Blocks of a layout that fit in so many bytes, each aligned to a power of two. */
export function blocksWithin(bytes: number, blockBytes: number, alignment = 1): number {
  return Math.floor(bytes / (Math.ceil(blockBytes / alignment) * alignment));
}
