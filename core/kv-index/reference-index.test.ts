import { create, toBinary } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { SubscribeKvEventsResponseSchema } from '#gen/stator/engine/v1/engine_pb.ts';
import { Tier } from '#gen/stator/events/v1/events_pb.ts';
import { packHashes } from '../tokens/packed-hashes.ts';
import { createOverlaps } from './kv-index.ts';
import { ReferenceKvIndex } from './reference-index.ts';

const hashes = (...values: bigint[]): Uint8Array => packHashes(BigUint64Array.from(values));

describe('ReferenceKvIndex', () => {
  it('matches the prefix on the device, then on from there in lower tiers', () => {
    const index = new ReferenceKvIndex({ maxBlocks: 100 });
    const slot = index.addSlot();
    index.store(slot, 0, undefined, hashes(1n, 2n));
    index.store(slot, 1, 1n, hashes(2n, 3n));
    index.store(slot, 2, 3n, hashes(4n));
    index.store(slot, 3, undefined, hashes(1n, 5n));
    const overlaps = createOverlaps(1);
    expect(index.match(hashes(1n, 2n, 3n, 4n, 5n, 6n), overlaps)).to.equal(2);
    expect(Object.values(overlaps).map(([blocks]) => blocks)).to.deep.equal([2, 1, 1, 1]);
  });

  it('counts parents, removals and duplicates that do not fit', () => {
    const index = new ReferenceKvIndex({ maxBlocks: 3 });
    const slot = index.addSlot();
    expect(index.store(slot, 0, 9n, hashes(1n, 2n))).to.include({ stored: 2, unmatchedParents: 1 });
    expect(index.store(slot, 0, 1n, hashes(2n, 3n, 4n))).to.include({ stored: 1, duplicates: 1, dropped: 1 });
    expect(index.remove(slot, 0, hashes(4n, 3n))).to.include({ removed: 1, unmatchedRemovals: 1 });
    expect(() => index.store(7, 0, undefined, hashes(1n))).to.throw(RangeError, 'Slot 7');
  });

  it('forgets a removed slot at once and gives its number away after reclaiming', () => {
    const index = new ReferenceKvIndex({ maxBlocks: 10 });
    const slot = index.addSlot();
    index.store(slot, 0, undefined, hashes(1n, 2n));
    index.removeSlot(slot);
    expect(index.match(hashes(1n, 2n), createOverlaps(1))).to.equal(0);
    expect(index.stats).to.include({ blocks: 2, entries: 0, slots: 0 });
    expect(index.reclaim(1)).to.equal(true);
    expect(index.addSlot()).to.equal(1);
    expect(index.reclaim(10)).to.equal(false);
    expect(index.addSlot()).to.equal(slot);
  });

  it('applies messages and refuses malformed ones', () => {
    const index = new ReferenceKvIndex({ maxBlocks: 10 });
    const slot = index.addSlot();
    const stored = { sequenceHashes: hashes(1n, 2n), tier: Tier.DEVICE };
    const message = create(SubscribeKvEventsResponseSchema, {
      batch: {
        events: [
          { sequenceNumber: 4n, change: { case: 'stored', value: stored } },
          { sequenceNumber: 5n, dataParallelRank: 1, change: { case: 'cleared', value: {} } },
          { sequenceNumber: 6n, change: { case: 'removed', value: { sequenceHashes: hashes(2n) } } },
        ],
      },
      newestSequenceNumber: 8n,
    });
    const bytes = toBinary(SubscribeKvEventsResponseSchema, message);
    const applied = index.applyMessage(bytes, (rank) => (rank === 0 ? slot : undefined));
    expect(applied).to.include({ events: 3, stored: 2, removed: 1, unknownRank: 1, cleared: 0 });
    expect(applied).to.include({ firstSequenceNumber: 4n, lastSequenceNumber: 6n, newestSequenceNumber: 8n });
    expect(() => index.applyMessage(bytes.subarray(0, 20), () => slot)).to.throw('no message of KV events');
  });
});
