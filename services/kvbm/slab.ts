import {
  type BlockHeader,
  type Decoded,
  decodeHeader,
  encodeHeader,
  type Hash64,
  headerBytes,
} from '#core/blocks/record/block-header.ts';
import type { MappedMemory } from '#lib/sharedmem/mapped-memory.ts';
import { pageBytes } from './layout.ts';
import { encodeShape, epochOffset, type SlabShape } from './slab-shape.ts';

// The mark of who writes into a slot, behind its record: a word that says that someone does, the generation, the tag.
const writerAt = headerBytes;
const writing = 0x5752_4954;

/** The mapped file, and whether it was made just now. */
export interface SlabMemory extends Pick<MappedMemory, 'buffer' | 'close' | 'hold'> {
  readonly created: boolean;
}

/**
 * One layout's host memory in a file that outlives this process: a page that describes it, a generation a slot, and slots
 * of one page with the block's record and the block's bytes behind it. Only the block manager writes outside the bytes.
 */
export class Slab {
  readonly path: string;
  readonly shape: SlabShape;
  readonly generations: Uint32Array;
  readonly #memory: SlabMemory;
  readonly #epoch: Uint32Array;
  readonly #hash: Hash64;

  constructor(path: string, shape: SlabShape, memory: SlabMemory, hash: Hash64) {
    this.path = path;
    this.shape = shape;
    this.#memory = memory;
    this.#hash = hash;
    const { buffer, byteOffset } = memory.buffer;
    this.generations = new Uint32Array(buffer, byteOffset + shape.generationsOffset, shape.slots);
    this.#epoch = new Uint32Array(buffer, byteOffset + epochOffset, 1);
  }

  /** Writes the first page: before, the file is no slab. */
  initialise(): void {
    encodeShape(this.shape, this.#hash).copy(this.#memory.buffer);
  }

  get memory(): SlabMemory {
    return this.#memory;
  }

  get epoch(): number {
    return this.#epoch[0] ?? 0;
  }

  /** Readers and writers that mapped it see that an earlier life is over. */
  set epoch(epoch: number) {
    Atomics.store(this.#epoch, 0, epoch);
  }

  /** Offset in the file of a slot's bytes. */
  payloadOffset(slot: number): number {
    return this.shape.slotsOffset + slot * this.shape.slotBytes + pageBytes;
  }

  /** Header page and bytes of a slot. */
  slot(slot: number): Buffer {
    const from = this.shape.slotsOffset + slot * this.shape.slotBytes;
    return this.#memory.buffer.subarray(from, from + this.shape.slotBytes);
  }

  /** Room for a block's bytes, up to the end of its last page. */
  payload(slot: number): Buffer {
    return this.slot(slot).subarray(pageBytes);
  }

  /** The slot is about to be written: what it held counts no more. `tag` names the writer's lock file; 0: this process. */
  markWriting(slot: number, tag: bigint): void {
    const page = this.slot(slot);
    page.writeUInt32LE(0, 0);
    page.writeUInt32LE(this.generations[slot] ?? 0, writerAt + 4);
    page.writeBigUInt64LE(tag, writerAt + 8);
    page.writeUInt32LE(writing, writerAt);
  }

  /** Tag of who was writing into the slot under its present generation; undefined when nobody was. */
  writer(slot: number): bigint | undefined {
    const page = this.slot(slot);
    const isCurrent = page.readUInt32LE(writerAt + 4) === this.generations[slot];
    return isCurrent && page.readUInt32LE(writerAt) === writing ? page.readBigUInt64LE(writerAt + 8) : undefined;
  }

  /** The slot holds a whole block from now on, also for a later life. */
  writeRecord(slot: number, header: BlockHeader): void {
    const page = this.slot(slot);
    page.set(encodeHeader(header, this.#hash));
    page.writeUInt32LE(0, writerAt);
  }

  /** What the slot's record says, if it is of the slot's present generation. */
  readRecord(slot: number): Decoded {
    const page = this.slot(slot);
    if (page.readUInt32LE(0) === 0) return { rejection: 'empty' };
    return decodeHeader(page, { generation: this.generations[slot] ?? 0 }, this.#hash);
  }

  /** Overwrites a slot's record and bytes. */
  erase(slot: number): void {
    this.slot(slot).fill(0);
  }

  /** Overwrites a slot's record alone: no later life believes it. */
  forget(slot: number): void {
    this.slot(slot).fill(0, 0, headerBytes);
  }

  /** Unmaps it; the file stays. */
  async close(): Promise<void> {
    await this.#memory.close();
  }
}
