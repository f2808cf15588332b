import { expect } from 'chai';
import { packHashes } from '../tokens/packed-hashes.ts';
import { ReferenceApproximateIndex } from './approximate.ts';

const hashes = (...values: bigint[]): Uint8Array => packHashes(BigUint64Array.from(values));

describe('ReferenceApproximateIndex', () => {
  it('holds blocks for a time after their last use', () => {
    const index = new ReferenceApproximateIndex({ bound: { kind: 'ttl', ttlMs: 120_000 }, maxBlocks: 10 });
    const device = new Uint32Array(2);
    index.record(1, hashes(1n, 2n, 3n), 50);
    index.record(1, hashes(1n, 2n), 60_000);
    expect(index.match(hashes(1n, 2n, 3n), device, 120_050)).to.equal(3);
    expect([...device]).to.deep.equal([0, 3]);
    expect(index.match(hashes(1n, 2n, 3n), device, 120_150)).to.equal(2);
    expect(index.match(hashes(1n, 2n, 3n), device, 100)).to.equal(2);
    expect(index.match(hashes(1n, 2n, 3n), device, 180_000)).to.equal(0);
    expect(index.stats.entries).to.equal(0);
  });

  it('holds the last used blocks of a slot, starts of prompts before ends', () => {
    const index = new ReferenceApproximateIndex({ bound: { kind: 'lru', blocksPerSlot: 3 }, maxBlocks: 10 });
    index.limitSlot(1, 2);
    for (const slot of [0, 1]) index.record(slot, hashes(1n, 2n, 3n, 4n), 0);
    const device = new Uint32Array(2);
    expect(index.match(hashes(1n, 2n, 3n, 4n), device, 1e12)).to.equal(3);
    expect([...device]).to.deep.equal([3, 2]);
    index.record(0, hashes(1n, 5n), 0);
    index.removeSlot(1);
    index.match(hashes(1n, 2n, 3n, 4n), device, 0);
    expect([...device]).to.deep.equal([2, 0]);
  });
});
