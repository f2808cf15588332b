import { expect } from 'chai';
import fc from 'fast-check';
import { hashBlocks, hashChain } from '#native/tokens/index.ts';
import { blockHashSeed, type ChainShape, type HashChain, hashBlocksInScript, hashChainInScript } from './block-hash.ts';

// Expected hashes of this file were printed by the crates dynamo-kv-router and dynamo-kv-hashing 1.6.1.

const plain: ChainShape = { seed: blockHashSeed('', ''), parent: null, eagle: false, media: null, runs: null };
const salted = blockHashSeed('lora-a', 'tenant-a');
const prompt = Uint32Array.from({ length: 13 }, (_, i) => i + 1);
const media = { blocks: Uint32Array.of(2, 1, 1), hashes: BigUint64Array.of(7n, 2n ** 64n - 1n, 9533257059414191570n) };

function runs(...list: [hash: bigint, offset: number, length: number][]): ChainShape['runs'] {
  const spans = Uint32Array.from(list.flatMap(([, offset, length]) => [offset, length]));
  return { spans, hashes: BigUint64Array.from(list, ([hash]) => hash) };
}

function suite(name: string, hash: HashChain): void {
  const check = (shape: ChainShape, locals: bigint[], sequences: bigint[], tokens = prompt, blockSize = 4): void => {
    const { localHashes, sequenceHashes } = hash(tokens, blockSize, shape);
    expect([...localHashes]).to.deep.equal(locals);
    expect([...sequenceHashes]).to.deep.equal(sequences);
  };

  describe(name, () => {
    it('gives the hashes of an adapter, of a cache salt and of both', () => {
      check(
        { ...plain, seed: blockHashSeed('lora-a', '') },
        [16997879858665117404n, 2010082078008787337n, 13916547194564114101n],
        [16997879858665117404n, 11065793721270373580n, 749539215275949480n],
      );
      check(
        { ...plain, seed: blockHashSeed('', 'tenant-a') },
        [5738685477468498325n, 11202231085456067787n, 9318114775459440904n],
        [5738685477468498325n, 1076233986426276607n, 14251413665512820044n],
      );
      check(
        { ...plain, seed: salted },
        [8077712285342165956n, 15276052944788269609n, 13173948519507018788n],
        [8077712285342165956n, 5676061187521590617n, 452917266089630508n],
      );
    });

    it('gives the hashes of Eagle windows, which need one token more', () => {
      const locals = [1914873892905420881n, 1929047464662796003n, 8175084615354468756n];
      const sequences = [1914873892905420881n, 13136491855314414045n, 14998081555153400732n];
      check({ ...plain, eagle: true }, locals, sequences);
      check({ ...plain, eagle: true }, locals.slice(0, 2), sequences.slice(0, 2), prompt.subarray(0, 12));
      check({ ...plain, eagle: true }, [], [], prompt.subarray(0, 0));
      check(
        { ...plain, eagle: true },
        [16877042469914539325n, 1232490315111126490n, 2179033220381100563n],
        [16877042469914539325n, 5426402286762657446n, 11550660075027047297n],
        Uint32Array.from({ length: 200 }, (_, i) => i * 7919),
        64,
      );
    });

    it('gives the hashes of blocks with media, also with adapter, salt and Eagle windows', () => {
      check(
        { ...plain, media },
        [14643705804678351452n, 14751831871586404272n, 3801014776743222227n],
        [14643705804678351452n, 4318255480342125449n, 6733181688403574525n],
      );
      check(
        { ...plain, seed: salted, eagle: true, media },
        [11996449028590037083n, 10200156174696311845n, 1717785685581888720n],
        [11996449028590037083n, 6684285810858879423n, 567876457764015998n],
      );
    });

    it('gives the hashes of the universal media frames', () => {
      check(
        { ...plain, runs: runs([0xaan, 5, 2]) },
        [14643705804678351452n, 17253343954818384898n, 483935686894639516n],
        [14643705804678351452n, 12434039305535705205n, 18378627256261247259n],
      );
      check(
        { ...plain, runs: runs([0xbbn, 7, 3], [0xaan, 2, 5]) },
        [8157832854318084192n, 8645075155205960584n, 13060484089247918594n],
        [8157832854318084192n, 11744286448062925608n, 5364484965719187222n],
      );
      check(
        { ...plain, seed: salted, runs: runs([2n ** 64n - 1n, 0, 1], [1n, 11, 2]) },
        [4617438585507894917n, 15276052944788269609n, 9002619870734602910n],
        [4617438585507894917n, 17340568550894300655n, 1029817525779618978n],
      );
    });

    it('goes on from a parent as if the prompt had been one', () => {
      const whole = hash(prompt, 4, plain);
      const rest = hash(prompt.subarray(4), 4, { ...plain, parent: whole.sequenceHashes[0] ?? 0n });
      expect(rest.localHashes).to.deep.equal(whole.localHashes.subarray(1));
      expect(rest.sequenceHashes).to.deep.equal(whole.sequenceHashes.subarray(1));
    });

    it('refuses runs that are empty, overlap, leave the prompt or come with another form', () => {
      const refused = (shape: ChainShape, why: string): void =>
        void expect(() => hash(prompt, 4, shape)).to.throw(RangeError, why);
      refused({ ...plain, runs: runs([1n, 3, 0]) }, 'a run of media must not be empty');
      refused({ ...plain, runs: runs([1n, 3, 2], [2n, 4, 2]) }, 'runs of media overlap');
      refused({ ...plain, runs: runs([1n, 12, 2]) }, 'a run of media goes beyond the prompt');
      refused({ ...plain, eagle: true, runs: runs([1n, 3, 2]) }, 'runs of media go with neither');
      refused({ ...plain, media, runs: runs([1n, 3, 2]) }, 'runs of media go with neither');
      expect(() => hash(prompt, 0, plain)).to.throw(RangeError, 'blockSize must be at least 1');
    });
  });
}

describe('chain hashes', () => {
  suite('native', hashChain);
  suite('in TypeScript', hashChainInScript);

  it('are the block hashes where nothing but tokens enters', () => {
    const o = { adapter: 'a', cacheSalt: 'b' };
    const shape = { ...plain, seed: blockHashSeed('a', 'b') };
    expect(hashChain(prompt, 4, shape)).to.deep.equal(hashBlocks(prompt, 4, o));
    expect(hashChainInScript(prompt, 4, shape)).to.deep.equal(hashBlocksInScript(prompt, 4, o));
  });

  it('agree for any tokens, parent, windows and media', () => {
    const ids = fc.uint8Array({ maxLength: 400 }).map((bytes) => Uint32Array.from(bytes, (b, i) => b * 7919 + i));
    const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
    const inBlocks = fc
      .array(fc.tuple(fc.nat(12), u64), { maxLength: 6 })
      .map((list) => ({ blocks: Uint32Array.from(list, ([b]) => b), hashes: BigUint64Array.from(list, ([, h]) => h) }));
    const shape = fc.record({
      seed: u64,
      parent: fc.option(u64),
      eagle: fc.boolean(),
      media: fc.option(inBlocks),
      runs: fc.constant(null),
    });
    fc.assert(
      fc.property(ids, fc.constantFrom(1, 3, 16, 61, 64), shape, (tokens, blockSize, o) => {
        expect(hashChain(tokens, blockSize, o)).to.deep.equal(hashChainInScript(tokens, blockSize, o));
      }),
      { numRuns: 100 },
    );
  });

  it('agree for any runs of media', () => {
    const gaps = fc.array(fc.tuple(fc.nat(9), fc.integer({ min: 1, max: 20 }), fc.bigInt(0n, 2n ** 64n - 1n)), {
      maxLength: 5,
    });
    fc.assert(
      fc.property(gaps, fc.constantFrom(1, 4, 16, 32), (list, blockSize) => {
        let at = 0;
        const shape = list.map(([gap, length, hash]): [bigint, number, number] => {
          const offset = at + gap;
          at = offset + length;
          return [hash, offset, length];
        });
        const tokens = Uint32Array.from({ length: at + 7 }, (_, i) => i * 31);
        const o = { ...plain, runs: runs(...shape.reverse()) };
        expect(hashChain(tokens, blockSize, o)).to.deep.equal(hashChainInScript(tokens, blockSize, o));
      }),
      { numRuns: 100 },
    );
  });
});
