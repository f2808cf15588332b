import v8 from 'node:v8';
import vm from 'node:vm';
import { expect } from 'chai';
import { Random } from '#core/kv-index/testing/random.ts';
import { createKvIndex } from './index.ts';
import type { NativeKvIndex } from './types.ts';

const random = new Random(3);

function randomHashes(blocks: number): Uint8Array {
  return new Uint8Array(Uint32Array.from({ length: blocks * 2 }, () => random.below(2 ** 32)).buffer);
}

const prompts = Array.from({ length: 400 }, () => randomHashes(500));

function load(index: NativeKvIndex, slot: number): void {
  for (const prompt of prompts) index.store(slot, 0, undefined, prompt);
}

function collectGarbage(): void {
  v8.setFlagsFromString('--expose-gc');
  const gc: unknown = vm.runInNewContext('gc');
  if (typeof gc === 'function') gc();
}

/** Bytes of memory after each of several rounds, of which the first ones warm up. */
async function residentAfter(rounds: number, round: () => void): Promise<number[]> {
  const resident: number[] = [];
  for (let i = 0; i < rounds; i++) {
    round();
    collectGarbage();
    // Finalizers of the addon run in a later turn.
    await new Promise((resolve) => setImmediate(resolve));
    resident.push(process.memoryUsage().rss);
  }
  return resident;
}

describe('Memory of the native index', () => {
  it('is given back when blocks go, whichever way', () => {
    const index = createKvIndex({ maxBlocks: 1e6 });
    const ways = [
      (slot: number) => {
        for (const prompt of prompts) index.remove(slot, 0, prompt);
      },
      (slot: number) => index.clearSlot(slot),
      (slot: number) => {
        index.removeSlot(slot);
        while (index.reclaim(1000));
      },
    ];
    const slots = ways.map(() => index.addSlot());
    load(index, 0);
    const full = index.stats;
    expect(full.bytes / full.entries).to.be.below(40);
    for (const [i, goes] of ways.entries()) {
      const slot = slots[i] ?? 0;
      load(index, slot);
      goes(slot);
    }
    expect(index.stats).to.include({ blocks: 0, entries: 0 });
    expect(index.stats.bytes).to.be.below(full.bytes / 2);
  });

  it('is given back when few blocks of long chains stay', () => {
    const index = createKvIndex({ maxBlocks: 1e6 });
    const slot = index.addSlot();
    load(index, slot);
    const full = index.stats;
    for (const prompt of prompts)
      for (let at = 0; at < 500; at += 50) index.remove(slot, 0, prompt.subarray((at + 1) * 8, (at + 50) * 8));
    expect(index.stats.entries).to.equal(400 * 10);
    expect(index.stats.bytes).to.be.below(full.bytes / 3);
  });

  it('is given back when slots that shared blocks go in any order', () => {
    const index = createKvIndex({ maxBlocks: 1e6 });
    const sizes: number[] = [];
    for (let round = 0; round < 10; round++) {
      const slots = Array.from({ length: 40 }, () => index.addSlot());
      for (let i = 0; i < 2000; i++) {
        const prompt = random.pick(prompts.slice(0, 20));
        index.store(random.pick(slots), 0, undefined, prompt.subarray(0, 8 * (1 + random.below(30))));
        const at = 8 * random.below(30);
        if (i % 3 === 0) index.remove(random.pick(slots), 0, prompt.subarray(at, at + 8 * random.below(10)));
      }
      for (const slot of random.shuffle(slots)) index.removeSlot(slot);
      while (index.reclaim(50));
      expect(index.stats).to.include({ blocks: 0, entries: 0 });
      sizes.push(index.stats.bytes);
    }
    expect(sizes.at(-1)).to.be.at.most(1.1 * (sizes[2] ?? 0));
  });

  it('does not grow over loads and drops', async () => {
    const index = createKvIndex({ maxBlocks: 1e6 });
    const resident = await residentAfter(12, () => {
      const slot = index.addSlot();
      load(index, slot);
      index.removeSlot(slot);
      while (index.reclaim(10_000));
    });
    const [early = 0, late = 0] = [Math.max(...resident.slice(2, 5)), Math.min(...resident.slice(-3))];
    expect(late - early).to.be.below(8e6);
  });

  it('does not grow over indexes that are no longer used', async () => {
    const resident = await residentAfter(12, () => {
      const index = createKvIndex({ maxBlocks: 1e6 });
      load(index, index.addSlot());
    });
    const [early = 0, late = 0] = [Math.max(...resident.slice(2, 5)), Math.min(...resident.slice(-3))];
    expect(late - early).to.be.below(16e6);
  });
});
