import { expect } from 'chai';
import { Random } from '../kv-index/testing/random.ts';
import { lineage } from './eviction/lineage.ts';
import { lru } from './eviction/lru.ts';
import { multiLru } from './eviction/multi-lru.ts';
import { World, type WorldSettings } from './testing/world.ts';
import { warmestFirst } from './tiers.ts';

const steps = 600;

function play(seed: number, settings: WorldSettings): World {
  const world = new World(new Random(seed), settings);
  for (let step = 0; step < steps; step++) {
    try {
      world.step();
    } catch (error) {
      throw new Error(`seed ${seed}, step ${step}`, { cause: error });
    }
  }
  world.end();
  return world;
}

function expectEmpty({ manager }: World): void {
  for (const use of manager.use()) {
    expect(use.free).to.equal(use.blocks);
    for (const tenant of ['a', 'b']) expect(manager.tenantBlocks(use.tier, 0, tenant)).to.equal(0);
  }
  expect(manager.leases).to.equal(0);
  expect(manager.records).to.equal(0);
}

describe('block manager: random histories', () => {
  for (const [name, eviction] of [
    ['lru', lru],
    ['multi-lru', multiLru({ sketchEntries: 256 })],
    ['lineage', lineage],
  ] as const)
    for (const zombies of [false, true])
      it(`${name}${zombies ? ', with workers that write after their proven death' : ''}: nothing leaks, mixes or lies`, () => {
        const seen: Record<string, number> = {};
        for (let seed = 1; seed <= 8; seed++) {
          const world = play(seed, { eviction, blocks: [24, 40, 60], quota: 30, zombies });
          expectEmpty(world);
          for (const [what, count] of Object.entries(world.seen)) seen[what] = (seen[what] ?? 0) + count;
        }
        // The histories must have been through what they are for.
        for (const what of ['commit 0', 'commit 1', 'commit 3', 'quota_exceeded', 'arena_full', 'unknown_holder'])
          expect(seen[what] ?? 0, what).to.be.above(0);
        expect((seen['reads refused'] ?? 0) > 0, 'reads refused').to.equal(true);
      }).timeout(60_000);

  it('a snapshot and the changes after it give what is there', () => {
    const random = new Random(5);
    const world = new World(random, { eviction: lineage, blocks: [24, 40, 60], quota: 40, zombies: false });
    for (let step = 0; step < steps || world.presence.tiers.some(({ size }) => size < 4); step++) world.step();
    const believed = world.presence.tiers.map((keys) => [...keys].sort());
    const chunks = [...world.manager.snapshot()];
    for (const keys of world.presence.tiers) keys.clear();
    for (const chunk of chunks) world.presence.apply(chunk);
    expect(world.presence.tiers.map((keys) => [...keys].sort())).to.deep.equal(believed);
    for (const tier of warmestFirst) world.manager.evict(tier, 0, 3);
    world.check();
  });
});
