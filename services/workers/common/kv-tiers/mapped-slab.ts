import type { AttachWelcome } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { MappedMemory } from '#lib/sharedmem/mapped-memory.ts';
import type { KvSpan } from '../engine-kv.ts';

export type SlabPlaces = Pick<
  AttachWelcome,
  'epoch' | 'slots' | 'generationsOffset' | 'payloadOffset' | 'slotStride' | 'epochOffset'
>;

/** The block manager's host memory as this process has it mapped. */
export class MappedSlab {
  readonly memory: MappedMemory;
  readonly #epoch: number;
  readonly #slots: number;
  readonly #payload: number;
  readonly #stride: number;
  readonly #blockBytes: number;
  readonly #epochWord: Uint32Array;
  readonly #generations: Uint32Array;

  /** Throws StatorError `conflict` for places that do not lie in the memory. */
  constructor(memory: MappedMemory, places: SlabPlaces, blockBytes: number) {
    const { epoch, slots, generationsOffset, payloadOffset, slotStride, epochOffset } = places;
    this.memory = memory;
    this.#epoch = epoch;
    this.#slots = slots;
    this.#payload = Number(payloadOffset);
    this.#stride = Number(slotStride);
    this.#blockBytes = blockBytes;
    const end = this.#payload + (slots - 1) * this.#stride + blockBytes;
    const words = Number(generationsOffset) + 4 * slots;
    const bytes = memory.buffer.length;
    if (slots < 1 || blockBytes > this.#stride || end > bytes || words > bytes || Number(epochOffset) + 4 > bytes)
      throw new StatorError('conflict', `the slab of ${bytes} bytes is smaller than the block manager says`);
    this.#epochWord = this.#words(Number(epochOffset), 1);
    this.#generations = this.#words(Number(generationsOffset), slots);
  }

  /** Where a slot's block is. Throws StatorError `conflict` for a slot that there is not, or a block that is larger than one. */
  span(slot: number, bytes: number): KvSpan {
    if (slot >= this.#slots || bytes < 1 || bytes > this.#blockBytes)
      throw new StatorError('conflict', `slot ${slot} with ${bytes} bytes is no part of the slab`);
    return { memory: this.memory.buffer, offset: this.#payload + slot * this.#stride, bytes };
  }

  /** Whether the block manager lives on and has given the slot to nobody else since. False once the memory is unmapped. */
  isCurrent(slot: number, generation: number): boolean {
    return this.#epochWord[0] === this.#epoch && this.#generations[slot] === generation;
  }

  #words(offset: number, count: number): Uint32Array {
    const { buffer, byteOffset } = this.memory.buffer;
    return new Uint32Array(buffer, byteOffset + offset, count);
  }
}
