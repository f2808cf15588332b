import { expect } from 'chai';
import { ReferenceApproximateIndex } from '#core/kv-index/approximate.ts';
import { createOverlaps } from '#core/kv-index/kv-index.ts';
import { ReferenceKvIndex } from '#core/kv-index/reference-index.ts';
import { CandidateTable } from '#core/routing/candidate-table.ts';
import { packHashes } from '#core/tokens/packed-hashes.ts';
import { IndexOverlap } from './index-overlap.ts';
import type { WorkerRank } from './worker-ranks.ts';

const [device, host] = [0, 1];

function rank(slot: number): WorkerRank {
  return {
    instanceId: BigInt(slot + 1),
    dataParallelRank: 0,
    slot,
    model: 'm',
    state: 1,
    role: 1,
    taints: [],
    deviceWeight: 1,
    adapters: new Set(),
    blockSize: 16,
    cardBlocks: 0,
    maxBatchedTokens: 0,
    tellsEvents: true,
    health: { inhibitedUntilMs: 0, loads: new Map() },
  };
}

describe('IndexOverlap', () => {
  const prompt = packHashes(BigUint64Array.of(1n, 2n, 3n, 4n));
  const first = (count: number): Uint8Array => prompt.subarray(0, count * 8);
  const blocks = (count: number) => ({ hashes: first(count), blockSize: 16, salted: false });
  const none = { deviceBlocks: 0, hostBlocks: 0, diskBlocks: 0, externalBlocks: 0 };
  const ranks = [rank(0), rank(1), rank(2)];
  let index: ReferenceKvIndex;
  let slots: Map<WorkerRank, number>;
  let nowMs: number;
  let routed: number[];
  let shared: number;

  function overlapOf(o: { readonly predictedTtlMs?: number } = {}): IndexOverlap {
    const approximateOf = (ttlMs: number) =>
      new ReferenceApproximateIndex({ bound: { kind: 'ttl', ttlMs }, maxBlocks: 1000 });
    return new IndexOverlap({
      index,
      ranks: {
        slotOf: (of) =>
          of.instanceId === 0n ? shared : (slots.get(ranks[Number(of.instanceId) - 1] ?? rank(9)) ?? -1),
        slotsOf: (all) => Int32Array.from(all, (of) => slots.get(of) ?? -1),
        overlaps: createOverlaps(8),
      },
      approximate: approximateOf(1000),
      predicted: o.predictedTtlMs === undefined ? null : approximateOf(o.predictedTtlMs),
      rankCapacity: () => 3,
      nowMs: () => nowMs,
      onRouted: (slot, _, matchedBlocks) => routed.push(slot, matchedBlocks),
    });
  }

  const deviceBlocks = (overlap: IndexOverlap): number[] => {
    overlap.match(ranks, prompt);
    return ranks.map((_, at) => overlap.hits(at).deviceBlocks);
  };

  beforeEach(() => {
    index = new ReferenceKvIndex({ maxBlocks: 1000 });
    slots = new Map();
    nowMs = 0;
    routed = [];
    shared = -1;
  });

  it('reads what events told of each rank, tier by tier, and forgets nothing when slots move', () => {
    const [, one] = ranks;
    if (one === undefined) throw new Error('no rank');
    const slot = [index.addSlot(), index.addSlot()][1] ?? -1;
    slots.set(one, slot);
    index.store(slot, device, undefined, first(2));
    index.store(slot, host, 2n, prompt.subarray(16, 24));
    const overlap = overlapOf();
    overlap.match(ranks, prompt);
    expect(overlap.hits(1)).to.deep.equal({ deviceBlocks: 2, hostBlocks: 1, diskBlocks: 0, externalBlocks: 0 });
    const table = new CandidateTable();
    overlap.write(1, table, table.add(2n, 0, 1));
    expect([table.deviceBlocks[0], table.hostBlocks[0]]).to.deep.equal([2, 1]);
    const next = index.addSlot();
    index.store(next, device, undefined, first(4));
    slots.set(one, next);
    expect(deviceBlocks(overlap)).to.deep.equal([0, 4, 0]);
    overlap.match(ranks, new Uint8Array());
    expect(overlap.hits(1).deviceBlocks).to.equal(0);
  });

  it('counts what a shared cache has beyond all that a rank has itself', () => {
    const [zero] = ranks;
    if (zero === undefined) throw new Error('no rank');
    const overlap = overlapOf();
    overlap.match(ranks, prompt);
    expect(overlap.sharedBlocks).to.equal(null);
    const slot = index.addSlot();
    slots.set(zero, slot);
    index.store(slot, device, undefined, first(1));
    index.store(slot, host, 1n, prompt.subarray(8, 16));
    shared = index.addSlot();
    index.store(shared, 3, undefined, first(3));
    overlap.match(ranks, prompt);
    expect(overlap.sharedBlocks).to.equal(3);
    const table = new CandidateTable();
    overlap.write(0, table, table.add(1n, 0, 0));
    overlap.write(1, table, table.add(2n, 0, 1));
    expect([...table.sharedBlocks.subarray(0, 2)]).to.deep.equal([1, 3]);
    overlap.match(ranks, first(1));
    overlap.write(0, table, 0);
    expect(table.sharedBlocks[0]).to.equal(0);
  });

  it('reckons with what was routed to ranks that tell nothing', () => {
    const overlap = overlapOf();
    const [zero] = ranks;
    if (zero === undefined) throw new Error('no rank');
    overlap.routed(zero, blocks(3), none);
    expect(deviceBlocks(overlap)).to.deep.equal([3, 0, 0]);
    expect(routed).to.deep.equal([]);
    nowMs = 2000;
    expect(deviceBlocks(overlap)).to.deep.equal([0, 0, 0]);
  });

  it('expects the blocks of a prompt before the events come, at the cost of lower tiers', () => {
    const overlap = overlapOf({ predictedTtlMs: 500 });
    const [zero] = ranks;
    if (zero === undefined) throw new Error('no rank');
    const slot = index.addSlot();
    slots.set(zero, slot);
    index.store(slot, device, undefined, first(1));
    index.store(slot, host, 1n, prompt.subarray(8, 32));
    overlap.routed(zero, blocks(3), { ...none, deviceBlocks: 1 });
    overlap.match(ranks, prompt);
    expect(overlap.hits(0)).to.deep.equal({ deviceBlocks: 3, hostBlocks: 1, diskBlocks: 0, externalBlocks: 0 });
    expect(routed).to.deep.equal([0, 1]);
    nowMs = 1000;
    overlap.match(ranks, prompt);
    expect(overlap.hits(0)).to.deep.equal({ deviceBlocks: 1, hostBlocks: 3, diskBlocks: 0, externalBlocks: 0 });
  });
});
