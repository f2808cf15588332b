import { expect } from 'chai';
import fc from 'fast-check';
import { hashBlocks } from '#native/tokens/index.ts';
import { type HashBlocks, hashBlocksInScript } from './block-hash.ts';

const plain = { cacheSalt: '', adapter: '' };
const range = (from: number, to: number): Uint32Array => Uint32Array.from({ length: to - from }, (_, i) => from + i);

function suite(name: string, hash: HashBlocks): void {
  describe(name, () => {
    it("gives Dynamo's hashes of three blocks of four", () => {
      const { localHashes, sequenceHashes } = hash(range(1, 13), 4, plain);
      expect([...localHashes]).to.deep.equal([14643705804678351452n, 16777012769546811212n, 483935686894639516n]);
      expect([...sequenceHashes]).to.deep.equal([14643705804678351452n, 4945711292740353085n, 12583592247330656132n]);
    });

    it("gives Dynamo's hashes of two blocks of 64", () => {
      const { localHashes, sequenceHashes } = hash(range(0, 128), 64, plain);
      expect([...localHashes]).to.deep.equal([3480597578098033343n, 3318286205056455972n]);
      expect([...sequenceHashes]).to.deep.equal([3480597578098033343n, 2575318956255022795n]);
    });

    it('hashes full blocks only', () => {
      expect(hash(range(0, 15), 16, plain).localHashes).to.have.length(0);
      expect(hash(range(0, 47), 16, plain).sequenceHashes).to.have.length(2);
      expect(hash(new Uint32Array(0), 16, plain).sequenceHashes).to.have.length(0);
    });

    it('keeps salts, adapters and their exchange apart', () => {
      const variants = [plain, { cacheSalt: 'a', adapter: '' }, { cacheSalt: '', adapter: 'a' }];
      const hashes = [...variants, { cacheSalt: 'a', adapter: 'b' }, { cacheSalt: 'b', adapter: 'a' }].map(
        (o) => hash(range(0, 16), 16, o).localHashes[0],
      );
      expect(new Set(hashes).size).to.equal(hashes.length);
    });

    it('refuses a block size of nothing', () => {
      expect(() => hash(range(0, 4), 0, plain)).to.throw(RangeError, 'blockSize must be at least 1');
    });
  });
}

describe('block hashes', () => {
  suite('native', hashBlocks);
  suite('in TypeScript', hashBlocksInScript);

  it('agree for any prompt, block size and salt', () => {
    const ids = fc.uint8Array({ maxLength: 600 }).map((bytes) => Uint32Array.from(bytes, (b, i) => b * 7919 + i));
    const size = fc.constantFrom(1, 3, 4, 16, 32, 61, 64, 100);
    fc.assert(
      fc.property(ids, size, fc.string(), fc.string({ unit: 'grapheme' }), (tokens, blockSize, cacheSalt, adapter) => {
        const o = { cacheSalt, adapter };
        expect(hashBlocks(tokens, blockSize, o)).to.deep.equal(hashBlocksInScript(tokens, blockSize, o));
      }),
      { numRuns: 60 },
    );
  });
});
