import { expect } from 'chai';
import { allocateMemory } from '#lib/sharedmem/mapped-memory.ts';
import { hostMemory } from '#native/hostmem/index.ts';
import { MappedSlab, type SlabPlaces } from './mapped-slab.ts';

const places: SlabPlaces = {
  ...{ epoch: 3, slots: 4, generationsOffset: 64n, payloadOffset: 4096n, slotStride: 1024n, epochOffset: 16n },
};

describe('MappedSlab', () => {
  it('knows where blocks are, and whether a slot is still what was given', async () => {
    const memory = allocateMemory(8192, hostMemory());
    const slab = new MappedSlab(memory, places, 1000);
    memory.buffer.writeUInt32LE(3, 16);
    memory.buffer.writeUInt32LE(7, 64 + 4 * 2);
    expect(slab.span(2, 999)).to.include({ offset: 4096 + 2048, bytes: 999 });
    expect([slab.isCurrent(2, 7), slab.isCurrent(2, 6), slab.isCurrent(9, 0)]).to.deep.equal([true, false, false]);
    memory.buffer.writeUInt32LE(4, 16);
    expect(slab.isCurrent(2, 7)).to.equal(false);
    memory.buffer.writeUInt32LE(3, 16);
    await memory.close();
    expect(slab.isCurrent(2, 7)).to.equal(false);
  });

  it('refuses slots and places that lie outside', () => {
    const memory = allocateMemory(8192, hostMemory());
    const slab = new MappedSlab(memory, places, 1000);
    for (const [slot, bytes] of [
      [4, 10],
      [0, 1001],
      [0, 0],
    ] as const)
      expect(() => slab.span(slot, bytes)).to.throw(/no part of the slab/);
    const wrong: readonly Partial<SlabPlaces>[] = [
      { slots: 5 },
      { slots: 0 },
      { generationsOffset: 8180n },
      { epochOffset: 8190n },
    ];
    for (const one of wrong) expect(() => new MappedSlab(memory, { ...places, ...one }, 1000)).to.throw(/smaller than/);
    expect(() => new MappedSlab(memory, places, 1025)).to.throw(/smaller than/);
  });
});
