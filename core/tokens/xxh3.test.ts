import { expect } from 'chai';
import fc from 'fast-check';
import { xxh3 as nativeXxh3 } from '#native/tokens/index.ts';
import { xxh3 } from './xxh3.ts';

describe('XXH3 in TypeScript', () => {
  it('gives the published hash of nothing', () => {
    expect(xxh3(new Uint8Array(0))).to.equal(0x2d06800538d394c2n);
  });

  it('equals the C implementation at every length class', () => {
    const bytes = Uint8Array.from({ length: 2600 }, (_, i) => (i * 2654435761) >>> 24);
    const lengths = [...Array(300).keys(), 511, 512, 513, 1023, 1024, 1025, 1088, 2048, 2111, 2112, 2600];
    for (const length of lengths) {
      for (const seed of [0n, 1337n, 0xffff_ffff_ffff_fff0n]) {
        const part = bytes.subarray(0, length);
        expect(xxh3(part, seed), `length ${length}, seed ${seed}`).to.equal(nativeXxh3(part, seed));
      }
    }
  });

  it('equals the C implementation on random input', () => {
    const seed = fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn });
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), seed, (bytes, s) => xxh3(bytes, s) === nativeXxh3(bytes, s)),
    );
  });
});
