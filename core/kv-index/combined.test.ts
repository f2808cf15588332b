import { expect } from 'chai';
import { packHashes } from '../tokens/packed-hashes.ts';
import { ReferenceApproximateIndex } from './approximate.ts';
import { CombinedIndex } from './combined.ts';
import { createOverlaps } from './kv-index.ts';
import { ReferenceKvIndex } from './reference-index.ts';

const hashes = (...values: bigint[]): Uint8Array => packHashes(BigUint64Array.from(values));

describe('CombinedIndex', () => {
  it('takes the better of events and promises for each slot, while promises last', () => {
    const events = new ReferenceKvIndex({ maxBlocks: 100 });
    const [one, other] = [events.addSlot(), events.addSlot()];
    events.store(one, 0, undefined, hashes(1n, 2n));
    events.store(one, 1, 2n, hashes(3n, 4n));
    events.store(other, 0, undefined, hashes(1n, 2n, 3n));
    const predicted = new ReferenceApproximateIndex({ bound: { kind: 'ttl', ttlMs: 500 }, maxBlocks: 100 });
    const index = new CombinedIndex(events, predicted);
    const prompt = hashes(1n, 2n, 3n, 4n, 5n);
    const overlaps = createOverlaps(2);

    predicted.record(one, hashes(1n, 2n, 3n), 0);
    predicted.record(other, hashes(1n), 0);
    expect(index.match(prompt, overlaps, 100)).to.equal(3);
    expect([...overlaps.device]).to.deep.equal([3, 3]);
    expect([...overlaps.host]).to.deep.equal([1, 0]);

    predicted.record(one, prompt, 200);
    expect(index.match(prompt, overlaps, 200)).to.equal(5);
    expect([...overlaps.host]).to.deep.equal([0, 0]);

    expect(index.match(prompt, overlaps, 700)).to.equal(3);
    expect([...overlaps.device]).to.deep.equal([2, 3]);
    expect([...overlaps.host]).to.deep.equal([2, 0]);
  });
});
