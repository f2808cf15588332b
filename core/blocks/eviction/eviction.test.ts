import { expect } from 'chai';
import { Random } from '../../kv-index/testing/random.ts';
import { lineage } from './lineage.ts';
import { lru } from './lru.ts';
import { multiLru } from './multi-lru.ts';
import type { EvictionPolicy } from './policy.ts';
import { TinyLfu } from './tiny-lfu.ts';

function evictAll(policy: EvictionPolicy): number[] {
  const order: number[] = [];
  for (let slot = policy.victim(); slot >= 0; slot = policy.victim()) {
    order.push(slot);
    policy.remove(slot);
  }
  return order;
}

describe('eviction policies', () => {
  it('lru: lower priorities first, then the longest unused', () => {
    const policy = lru(8);
    for (const [slot, priority] of [
      [0, 1],
      [1, 0],
      [2, 0],
      [3, 15],
      [4, 1],
    ] as const)
      policy.add(slot, priority, slot, 0);
    policy.remove(1);
    policy.add(1, 0, 1, 0);
    expect(policy.size).to.equal(5);
    expect(evictAll(policy)).to.deep.equal([2, 1, 0, 4, 3]);
    expect(policy.size).to.equal(0);
  });

  it('multi-lru: blocks that are used often stay', () => {
    const policy = multiLru({ sketchEntries: 1024 })(4);
    const uses = [9, 1, 15, 4];
    for (const [slot, count] of uses.entries()) for (let i = 0; i < count; i++) policy.used(slot, 77);
    for (const slot of uses.keys()) policy.add(slot, 0, slot, 77);
    expect(evictAll(policy)).to.deep.equal([1, 3, 0, 2]);
  });

  it('multi-lru refuses thresholds that do not ascend or that no counter reaches', () => {
    for (const thresholds of [[0, 3], [3, 3], [3, 16], [2.5]])
      expect(() => multiLru({ thresholds }), String(thresholds)).to.throw(RangeError, 'thresholds[');
  });

  it('lineage: leaves before parents, whatever their priority', () => {
    const policy = lineage(4);
    policy.setParent(0, true);
    policy.setParent(1, true);
    for (const [slot, priority] of [
      [0, 0],
      [1, 0],
      [2, 9],
      [3, 3],
    ] as const)
      policy.add(slot, priority, slot, 0);
    expect(policy.mayGo(0)).to.equal(false);
    expect(policy.victim()).to.equal(3);
    policy.remove(3);
    expect(policy.victim()).to.equal(2);
    policy.remove(2);
    expect(policy.victim()).to.equal(-1);
    policy.setParent(1, false);
    expect(policy.victim()).to.equal(1);
    policy.remove(1);
    policy.setParent(0, false);
    expect(evictAll(policy)).to.deep.equal([0]);
  });

  for (const [name, make, leafFirst] of [
    ['lru', lru, false],
    ['multi-lru', multiLru({ thresholds: [1], sketchEntries: 64 }), false],
    ['lineage', lineage, true],
  ] as const)
    it(`${name} agrees with a sorted list over random histories`, () => {
      for (let seed = 1; seed <= 20; seed++) {
        const random = new Random(seed);
        const policy = make(32);
        const priorities = new Map<number, [priority: number, order: number]>();
        const parents = new Set<number>();
        for (let step = 0; step < 400; step++) {
          const slot = random.below(32);
          if (random.chance(0.2)) {
            const parent = random.chance(0.5);
            if (parent) parents.add(slot);
            else parents.delete(slot);
            policy.setParent(slot, parent);
          } else if (priorities.has(slot)) {
            priorities.delete(slot);
            expect(policy.remove(slot)).to.equal(true);
          } else {
            expect(policy.remove(slot)).to.equal(false);
            const priority = random.below(3);
            priorities.set(slot, [priority, step]);
            policy.add(slot, priority, slot, 1);
          }
          const allowed = [...priorities].filter(([candidate]) => !(leafFirst && parents.has(candidate)));
          allowed.sort(([, a], [, b]) => a[0] - b[0] || a[1] - b[1]);
          expect(policy.victim(), `seed ${seed}, step ${step}`).to.equal(allowed[0]?.[0] ?? -1);
          expect(policy.size).to.equal(priorities.size);
        }
      }
    });

  it('tiny-lfu counts at least what came, and forgets half of it after ten increments per entry', () => {
    const sketch = new TinyLfu(64);
    for (let i = 0; i < 8; i++) sketch.increment(1, 2);
    for (let key = 0; key < 20; key++) sketch.increment(key, 3);
    expect(sketch.estimate(1, 2)).to.be.within(8, 15);
    const before = sketch.estimate(1, 2);
    for (let i = 28; i < 640; i++) sketch.increment(1000, 1000);
    expect(sketch.estimate(1, 2)).to.equal(before >> 1);
    expect(sketch.estimate(1000, 1000)).to.equal(7);
  });
});
