import { expect } from 'chai';
import { blocksWithin } from './arena.ts';
import { BlockError } from './block-error.ts';
import { BlockManager } from './block-manager.ts';
import type { Quota } from './block-store.ts';
import { lru } from './eviction/lru.ts';
import { chainOf, digestsOf, pathTo } from './testing/prompts.ts';
import { type TierIndex, tiers } from './tiers.ts';
import { commitOutcomes } from './writing.ts';

function create(blocks: number, quota?: Quota, eventLimit?: number): BlockManager {
  const arena = [{ blockBytes: 64, blocks, eviction: lru, epoch: 1 }];
  const limit = eventLimit === undefined ? {} : { eventLimit };
  return new BlockManager({ tiers: [arena, arena, []], ...(quota !== undefined && { quota }), ...limit });
}

const name = (digit: string, tenant: string) => ({ digest: digit.repeat(32), model: 'm', tenant, arena: 0 });

/** Stores a prompt's blocks in a tier. */
function store(manager: BlockManager, tier: TierIndex, namespace: number, node: number, priority = 0): void {
  const writer = manager.attach();
  const reservation = manager.reserve(writer, tier, chainOf(namespace, node), priority);
  manager.commit(writer, { ...reservation, checksums: new Uint32Array(2 * reservation.slots.length) });
  manager.detach(writer, true);
}

const found = (manager: BlockManager, namespace: number, node: number): number[] => [
  ...manager.match(namespace, digestsOf(pathTo(node))),
];

describe('block manager', () => {
  it('finds the longest prefix, each block in its warmest tier', () => {
    const manager = create(8);
    const namespace = manager.namespace(name('a', 't'));
    store(manager, tiers.disk, namespace, 7);
    store(manager, tiers.host, namespace, 1);
    expect(found(manager, namespace, 7)).to.deep.equal([0, 0, 1, 1]);
    manager.drop(tiers.disk, namespace, digestsOf([3]), 0);
    expect(found(manager, namespace, 7)).to.deep.equal([0, 0]);
    expect([...manager.scan(namespace, digestsOf(pathTo(7)))]).to.deep.equal([0, 0, 255, 1]);
    expect(manager.tiersOf(namespace)).to.deep.equal([0, 1]);
  });

  it('never shares blocks between namespaces, and purges one tenant', () => {
    const manager = create(8);
    const [a, b] = [manager.namespace(name('a', 'one')), manager.namespace(name('b', 'two'))];
    store(manager, tiers.host, a, 3);
    expect(found(manager, b, 3)).to.deep.equal([]);
    store(manager, tiers.host, b, 3);
    expect(manager.purge('one')).to.equal(3);
    expect(found(manager, a, 3)).to.deep.equal([]);
    expect(found(manager, b, 3)).to.deep.equal([0, 0, 0]);
    expect(() => manager.namespace({ ...name('a', 'other') })).to.throw(BlockError, 'another tenant');
    expect(() => manager.namespace(name('X', 'one'))).to.throw(BlockError, 'hexadecimal');
  });

  it('keeps what is written to itself until it is registered', () => {
    const manager = create(4);
    const namespace = manager.namespace(name('a', 't'));
    const writer = manager.attach();
    const reservation = manager.reserve(writer, tiers.host, chainOf(namespace, 0));
    const checksums = Uint32Array.of(5, 6);
    expect([...manager.register(writer, reservation)]).to.deep.equal([commitOutcomes.refused]);
    expect([...manager.complete(writer, { ...reservation, checksums })]).to.deep.equal([commitOutcomes.completed]);
    expect(found(manager, namespace, 0)).to.deep.equal([]);
    expect([...manager.register(writer, reservation)]).to.deep.equal([commitOutcomes.registered]);
    expect(found(manager, namespace, 0)).to.deep.equal([0]);
    const lease = manager.pin(writer, tiers.host, namespace, digestsOf([0]), [0]);
    expect([...lease.checksums]).to.deep.equal([5, 6]);
    expect(() => manager.release(writer, 99))
      .to.throw(BlockError)
      .with.property('code', 'unknown_lease');
    const [stolen] = [manager.attach()];
    expect(() => manager.release(stolen, lease.id))
      .to.throw(BlockError)
      .with.property('code', 'unknown_lease');
  });

  it('refuses what does not fit without evicting anything, and keeps the prompt that is going on', () => {
    const manager = create(4);
    const namespace = manager.namespace(name('a', 't'));
    store(manager, tiers.host, namespace, 3);
    const reader = manager.attach();
    manager.pin(reader, tiers.host, namespace, digestsOf([0]), [0]);
    expect(() => store(manager, tiers.host, namespace, 62))
      .to.throw(BlockError)
      .with.property('code', 'arena_full');
    expect(manager.counters.evicted).to.equal(0);
    // 0, 1, 3, 7: one more block, whose prompt is kept though it is the oldest.
    store(manager, tiers.host, namespace, 7);
    expect(found(manager, namespace, 7)).to.deep.equal([0, 0, 0, 0]);
    // 0, 1, 4: the end of the other prompt goes, not its beginning.
    store(manager, tiers.host, namespace, 4);
    expect(found(manager, namespace, 4)).to.deep.equal([0, 0, 0]);
    expect(found(manager, namespace, 7)).to.deep.equal([0, 0, 0]);
  });

  it('evicts low priorities first', () => {
    const manager = create(3);
    const namespace = manager.namespace(name('a', 't'));
    store(manager, tiers.host, namespace, 1, 5);
    const other = manager.namespace(name('b', 't'));
    store(manager, tiers.host, other, 0, 1);
    store(manager, tiers.host, manager.namespace(name('c', 't')), 0, 9);
    expect(found(manager, other, 0)).to.deep.equal([]);
    expect(found(manager, namespace, 1)).to.deep.equal([0, 0]);
    expect(() => store(manager, tiers.host, namespace, 0, 16)).to.throw(BlockError, 'priority 16');
  });

  it("takes a tenant's own oldest blocks at its quota", () => {
    const manager = create(8, (tenant) => (tenant === 'small' ? 3 : 8));
    const [small, large] = [manager.namespace(name('a', 'small')), manager.namespace(name('b', 'large'))];
    store(manager, tiers.host, large, 3);
    store(manager, tiers.host, small, 1);
    store(manager, tiers.host, small, 2);
    expect(manager.tenantBlocks(tiers.host, 0, 'small')).to.equal(3);
    store(manager, tiers.host, small, 6);
    expect(found(manager, small, 6)).to.deep.equal([0, 0, 0]);
    expect(found(manager, small, 1)).to.deep.equal([0]);
    expect(found(manager, large, 3)).to.deep.equal([0, 0, 0]);
    expect(manager.counters.evictedByQuota).to.equal(1);
    expect(() => store(manager, tiers.host, small, 15))
      .to.throw(BlockError)
      .with.property('code', 'quota_exceeded');
  });

  it('names what is wrong with a chain', () => {
    const manager = create(4);
    const namespace = manager.namespace(name('a', 't'));
    const writer = manager.attach();
    const chain = chainOf(namespace, 1, 1);
    for (const [wrong, message] of [
      [{ ...chain, parent: null }, 'parent is missing'],
      [{ ...chain, startBlock: 0 }, 'parent is given'],
      [{ ...chain, digests: new Uint32Array(3) }, 'digests has 3 words for 1 blocks'],
      [{ ...chain, startBlock: -1 }, 'startBlock -1'],
      [{ ...chain, parent: { digest: new Uint32Array(3), sequenceHash: 0n } }, 'parent.digest'],
    ] as const)
      expect(() => manager.reserve(writer, tiers.host, wrong)).to.throw(BlockError, message);
    expect(() => manager.reserve(writer, tiers.object, chain)).to.throw(BlockError, 'has no arena');
    expect(() => manager.reserve(writer, tiers.host, { ...chain, namespace: 9 })).to.throw(BlockError, 'namespace 9');
    expect(manager.records).to.equal(0);
  });

  it('asks for a snapshot when nobody took the events', () => {
    const manager = create(8, undefined, 2);
    const namespace = manager.namespace(name('a', 't'));
    store(manager, tiers.host, namespace, 3);
    expect(manager.takeEvents()).to.equal(null);
    expect(manager.takeEvents()).to.deep.equal([]);
    expect([...manager.snapshot()].flat().length).to.equal(1);
  });

  it('counts the blocks that fit a size', () => {
    expect(blocksWithin(10_000, 1000)).to.equal(10);
    expect(blocksWithin(10_000, 1000, 4096)).to.equal(2);
  });
});
