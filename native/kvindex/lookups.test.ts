import { expect } from 'chai';
import { createOverlaps } from '#core/kv-index/kv-index.ts';
import { ReferenceKvIndex } from '#core/kv-index/reference-index.ts';
import { PromptTree } from '#core/kv-index/testing/prompt-tree.ts';
import { Random } from '#core/kv-index/testing/random.ts';
import { packHashes } from '#core/tokens/packed-hashes.ts';
import { createKvIndex } from './index.ts';
import type { DumpCursor } from './types.ts';

const random = new Random(9);
const chain = (blocks: number): BigUint64Array => BigUint64Array.from({ length: blocks }, () => random.hash());

describe('Lookups of the native index', () => {
  it('follow chains longer than a run', () => {
    const index = createKvIndex({ maxBlocks: 1e6 });
    const [one, other] = [index.addSlot(), index.addSlot()];
    const prompt = chain(10_000);
    const packed = packHashes(prompt);
    index.store(one, 0, undefined, packed);
    for (let at = 0; at < 9000; at += 7) index.store(other, 0, prompt[at - 1], packed.subarray(at * 8, (at + 7) * 8));
    const overlaps = createOverlaps(2);
    expect(index.match(packed, overlaps)).to.equal(10_000);
    expect([...overlaps.device]).to.deep.equal([10_000, 9002]);
    index.remove(one, 0, packed.subarray(4096 * 8, 4097 * 8));
    index.remove(other, 0, packed.subarray(5000 * 8, 5001 * 8));
    index.match(packed, overlaps);
    expect([...overlaps.device]).to.deep.equal([4096, 5000]);
  });

  it('answer one prompt shared by hundreds of slots', () => {
    const index = createKvIndex({ maxBlocks: 1e6 });
    const root = chain(8);
    const slots = Array.from({ length: 700 }, () => index.addSlot());
    const prompts = slots.map((slot) => {
      const prompt = BigUint64Array.from([...root, ...chain(slot % 5)]);
      index.store(slot, 0, undefined, packHashes(prompt));
      return prompt;
    });
    const overlaps = createOverlaps(700);
    prompts.forEach((prompt, asked) => {
      expect(index.match(packHashes(prompt), overlaps)).to.equal(prompt.length);
      expect(overlaps.device.every((blocks, slot) => blocks === (slot === asked ? prompt.length : 8))).to.equal(true);
    });
    for (const slot of slots) if (slot % 3 === 0) index.removeSlot(slot);
    index.match(packHashes(root), overlaps);
    expect(overlaps.device.every((blocks, slot) => blocks === (slot % 3 === 0 ? 0 : 8))).to.equal(true);
    expect(index.stats.entries).to.equal(slots.reduce((sum, slot) => sum + (slot % 3 === 0 ? 0 : 8 + (slot % 5)), 0));
  });

  it('in batches equal single ones', () => {
    const tree = new PromptTree(random, 500, 0.8);
    const index = createKvIndex({ maxBlocks: 1e6 });
    const slots = Array.from({ length: 20 }, () => index.addSlot());
    for (let i = 0; i < 500; i++)
      index.store(random.pick(slots), random.below(2), undefined, packHashes(tree.path(random)));
    const prompts = Array.from({ length: 64 }, () => tree.prompt(random));
    let end = 0;
    const ends = Uint32Array.from(prompts, (prompt) => (end += prompt.length));
    const packed = packHashes(BigUint64Array.from(prompts.flatMap((prompt) => [...prompt])));
    const rows = createOverlaps(20 * 64);
    const deepest = new Uint32Array(64);
    index.matchBatch(packed, ends, rows, deepest);
    const overlaps = createOverlaps(20);
    prompts.forEach((prompt, i) => {
      expect(index.match(packHashes(prompt), overlaps)).to.equal(deepest[i]);
      expect(rows.device.slice(i * 20, i * 20 + 20)).to.deep.equal(overlaps.device);
      expect(rows.host.slice(i * 20, i * 20 + 20)).to.deep.equal(overlaps.host);
    });
  });

  it('count what the last of them reached', () => {
    const tree = new PromptTree(random, 40, 0.9);
    const indexes = [
      createKvIndex({ maxBlocks: 1e6, hitWindow: 10 }),
      new ReferenceKvIndex({ maxBlocks: 1e6, hitWindow: 10 }),
    ];
    for (const index of indexes) index.addSlot();
    const overlaps = createOverlaps(1);
    for (let i = 0; i < 500; i++) {
      const prompt = packHashes(tree.prompt(random));
      const stores = random.chance(0.3);
      const [one, other] = indexes.map((index) => {
        if (stores) index.store(0, 0, undefined, prompt);
        index.match(prompt, overlaps);
        const counts = new Uint32Array(prompt.length / 8);
        index.hits(prompt, counts);
        return counts;
      });
      expect(one).to.deep.equal(other);
    }
  });

  it('refuse arrays that are too short, unknown slots and tiers, and odd columns', () => {
    const index = createKvIndex({ maxBlocks: 10, maxSlots: 2 });
    const hash = packHashes(chain(1));
    expect(() => index.store(0, 0, undefined, hash)).to.throw(RangeError, 'Slot 0');
    index.addSlot();
    index.addSlot();
    expect(() => index.addSlot()).to.throw(RangeError, 'All 2 slots');
    expect(() => index.match(hash, createOverlaps(1))).to.throw(RangeError, '1 elements for 2 slots');
    expect(() => index.store(0, 4, undefined, hash)).to.throw(RangeError, 'tier 4');
    expect(() => index.store(0, 0, -1n, hash)).to.throw(RangeError, 'parent');
    expect(() => index.store(0, 0, undefined, hash.subarray(1))).to.throw(RangeError, 'multiple of 8');
    expect(() => index.removeSlot(-1)).to.throw(RangeError, 'slot');
    const overlaps = createOverlaps(2);
    index.match(hash, overlaps);
    structuredClone(overlaps.device, { transfer: [overlaps.device.buffer] });
    expect(() => index.match(hash, overlaps)).to.throw(RangeError, '0 elements');
  });

  it('see unaligned columns', () => {
    const index = createKvIndex({ maxBlocks: 100 });
    const bytes = new Uint8Array(8 * 20 + 3);
    const unaligned = bytes.subarray(3);
    unaligned.set(packHashes(chain(20)));
    index.store(index.addSlot(), 0, undefined, unaligned);
    expect(index.match(unaligned.slice(), createOverlaps(1))).to.equal(20);
    expect(index.match(unaligned, createOverlaps(1))).to.equal(20);
  });
});

describe('A dump of the native index', () => {
  it('has everything that existed all the time, whatever changes meanwhile', () => {
    const tree = new PromptTree(random, 3000, 0.97);
    const index = createKvIndex({ maxBlocks: 1e6 });
    const slots = [index.addSlot(), index.addSlot(), index.addSlot()];
    for (let i = 0; i < 400; i++) index.store(random.pick(slots), 0, undefined, packHashes(tree.path(random)));
    const present = (): Set<string> => names(index.dump(undefined, 1e9).events);
    const always = present();
    const seen = new Set<string>();
    let cursor: DumpCursor | undefined;
    do {
      const chunk = index.dump(cursor, 50);
      for (const name of names(chunk.events)) seen.add(name);
      cursor = chunk.next;
      for (let i = 0; i < 5; i++) {
        const path = packHashes(tree.path(random));
        const middle = path.subarray(Math.floor(path.length / 32) * 8, Math.floor(path.length / 10) * 8);
        if (random.chance(0.7)) index.remove(random.pick(slots), 0, middle);
        else index.store(random.pick(slots), 0, undefined, path);
      }
      const now = present();
      for (const name of always) if (!now.has(name)) always.delete(name);
    } while (cursor !== undefined);
    expect(always.size).to.be.greaterThan(100);
    expect([...always].filter((name) => !seen.has(name))).to.deep.equal([]);
  });

  it('finds blocks that moved while it went on', () => {
    const index = createKvIndex({ maxBlocks: 1e6 });
    const slot = index.addSlot();
    const [first, second, third] = [chain(3), chain(3), chain(200)].map(packHashes);
    for (const prompt of [first, second, third]) index.store(slot, 0, undefined, prompt ?? new Uint8Array());
    index.remove(slot, 0, first ?? new Uint8Array());
    const { next } = index.dump(undefined, 1);
    // Most of the third goes, so that its ends move to memory of their own, perhaps where the first was.
    index.remove(slot, 0, third?.subarray(8, 190 * 8) ?? new Uint8Array());
    expect(next).to.not.equal(undefined);
    expect(names(index.dump(next, 1e6).events).size).to.equal(11);
  });
});

function names(events: readonly { slot: number; tier: number; hashes: Uint8Array }[]): Set<string> {
  return new Set(
    events.flatMap(({ slot, tier, hashes }) =>
      [...new BigUint64Array(hashes.slice().buffer)].map((hash) => `${slot}:${tier}:${hash}`),
    ),
  );
}
