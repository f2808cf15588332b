import { expect } from 'chai';
import { createOverlaps } from '#core/kv-index/kv-index.ts';
import { Random } from '#core/kv-index/testing/random.ts';
import { packHashes } from '#core/tokens/packed-hashes.ts';
import { createKvIndex } from './index.ts';

const random = new Random(21);
/** Of the odd number that the table multiplies hashes by, modulo 2^64. */
const inverse = inverseOf(0x9e3779b97f4a7c15n);

const kinds = [
  { name: 'random hashes', blocks: 40_000, hash: () => random.hash() },
  // All in the last buckets of one part, four with the same tag each: they go on at its start.
  {
    name: 'hashes at the end of a part',
    blocks: 3000,
    hash: (i: number) => wrapped((end - BigInt(i) * fourth) * inverse),
  },
];
const end = 2n ** 54n - 1n;
const fourth = 2n ** 32n;

describe('The table of blocks', () => {
  for (const { name, blocks, hash } of kinds) {
    it(`finds exactly what is there while it grows and shrinks: ${name}`, () => {
      const packed = packHashes(BigUint64Array.from({ length: blocks }, (_, i) => hash(i)));
      const block = (i: number): Uint8Array => packed.subarray(i * 8, i * 8 + 8);
      const index = createKvIndex({ maxBlocks: 1e6 });
      const slot = index.addSlot();
      const overlaps = createOverlaps(1);
      const present = new Uint32Array(blocks);
      // The share of stores among changes: nearly full after the first waves, nearly empty after the last.
      for (const share of [0.9, 0.95, 0.5, 0.5, 0.1, 0.02, 0.8, 0.05]) {
        for (let change = 0; change < 2 * blocks; change++) {
          const i = random.below(blocks);
          present[i] = random.chance(share) ? 1 : 0;
          if (present[i] === 1) index.store(slot, 0, undefined, block(i));
          else index.remove(slot, 0, block(i));
        }
        expect(present.map((_, i) => index.match(block(i), overlaps))).to.deep.equal(present);
        expect(index.stats.entries).to.equal(present.reduce((sum, one) => sum + one, 0));
      }
    });
  }
});

function wrapped(hash: bigint): bigint {
  return BigInt.asUintN(64, hash);
}

/** Newton's iteration: each step doubles the number of right bits. */
function inverseOf(odd: bigint): bigint {
  let found = odd;
  for (let i = 0; i < 6; i++) found = wrapped(found * (2n - odd * found));
  return found;
}
