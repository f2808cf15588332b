import { expect } from 'chai';
import { type ApproximateIndex, ReferenceApproximateIndex } from '#core/kv-index/approximate.ts';
import { PromptTree } from '#core/kv-index/testing/prompt-tree.ts';
import { Random } from '#core/kv-index/testing/random.ts';
import { packHashes } from '#core/tokens/packed-hashes.ts';
import { createApproximateIndex } from './approximate.ts';

const slots = 5;

const shapes = [
  { name: 'blocks that grow old', bound: { kind: 'ttl', ttlMs: 1000 }, maxBlocks: 1e6 },
  { name: 'blocks that grow old, too little room', bound: { kind: 'ttl', ttlMs: 3000 }, maxBlocks: 100 },
  { name: 'the last used ones', bound: { kind: 'lru', blocksPerSlot: 60 }, maxBlocks: 1e6 },
  { name: 'the last used ones, too little room', bound: { kind: 'lru', blocksPerSlot: 60 }, maxBlocks: 150 },
] as const;

/** One random call, the same for all indexes; returns its answer from each. */
function step(indexes: readonly ApproximateIndex[], tree: PromptTree, random: Random, nowMs: number): unknown[] {
  const kind = random.next();
  const slot = random.below(slots);
  const blocks = random.below(90);
  const prompt = packHashes(kind < 0.5 ? tree.path(random) : tree.prompt(random));
  return indexes.map((index) => {
    if (kind < 0.5) return index.record(slot, prompt, nowMs);
    if (kind < 0.97) {
      const device = new Uint32Array(slots);
      return [index.match(prompt, device, nowMs), ...device];
    }
    if (kind < 0.98) return index.removeSlot(slot);
    if (kind < 0.99) return index.limitSlot(slot, blocks);
    index.expire(nowMs);
    return index.stats.entries;
  });
}

describe('The native approximate index', () => {
  for (const { name, bound, maxBlocks } of shapes) {
    it(`agrees with the reference: ${name}`, () => {
      const random = new Random(maxBlocks);
      const tree = new PromptTree(random, 200, 0.9);
      const indexes = [
        createApproximateIndex({ bound, maxBlocks }),
        new ReferenceApproximateIndex({ bound, maxBlocks }),
      ] as const;
      for (const index of indexes) index.limitSlot(slots - 1, 70);
      let nowMs = 0;
      for (let i = 0; i < 5000; i++) {
        // Mostly on, sometimes back.
        nowMs = Math.max(0, nowMs + random.below(120) - 10);
        const [one, other] = step(indexes, tree, random, nowMs);
        expect(one).to.deep.equal(other);
        expect(indexes[0].stats.entries).to.equal(indexes[1].stats.entries);
      }
    });
  }

  it('refuses a bound of nothing', () => {
    expect(() => createApproximateIndex({ bound: { kind: 'ttl', ttlMs: 0 }, maxBlocks: 1 })).to.throw(RangeError);
  });
});
