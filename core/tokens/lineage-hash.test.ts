import { expect } from 'chai';
import fc from 'fast-check';
import { lineageBytes, lineageHash, lineageParts, printLineage } from './lineage-hash.ts';

const top = 2n ** 64n - 1n;

// Printed by the crate dynamo-tokens 1.6.1.
const vectors: [own: bigint, parent: bigint | null, position: number, packed: bigint, printed: string][] = [
  [1n, null, 0, 18014398509481984n, '0:11111112'],
  [0x0123456789abcdefn, 0xfedcba9876543210n, 1, 333783918941545541406858147175608848n, '1:C3CPq7c8PY:1269NgQm8hM'],
  [top, top, 255, 85070591730234615865843651857942052863n, '255:jpXCZedGfVQ:13RfkhhsepN'],
  [top, top, 256, 85404196803395478540976736247094444031n, '256:jpXCZedGfVQ:11YsU7xUni'],
  [5n, 6n, 65535, 170139885386254598024780522935522689030n, '65535:11111116:11111117'],
  [5n, top, 65536, 170473490459415460699913257130221633535n, '65536:11111116:1118Do288e'],
  [255n, 0x1234n, 16777215, 255211770120101446684613419680879612468n, '16777215:11111115Q:1111112PM'],
];

describe('positional lineage hash', () => {
  it("packs and prints as Dynamo's", () => {
    for (const [own, parent, position, packed, printed] of vectors) {
      const hash = lineageHash(own, parent, position);
      expect(hash).to.equal(packed);
      expect(printLineage(hash)).to.equal(printed);
    }
  });

  it('is 16 bytes, the highest first', () => {
    const hex = Buffer.from(lineageBytes(lineageHash(top, top, 255))).toString('hex');
    expect(hex).to.equal(85070591730234615865843651857942052863n.toString(16).padStart(32, '0'));
  });

  it('gives its parts back', () => {
    const u64 = fc.bigInt({ min: 0n, max: top });
    fc.assert(
      fc.property(u64, u64, fc.nat(2 ** 24 - 1), (own, parent, position) => {
        const bits = position < 256 ? 54 : position < 65536 ? 46 : 38;
        const parts = lineageParts(lineageHash(own, parent, position));
        expect(parts).to.deep.equal({
          position,
          sequenceHash: own,
          parentFragment: BigInt.asUintN(bits, parent),
        });
      }),
    );
  });

  it('refuses positions and modes that there are not', () => {
    expect(() => lineageHash(1n, 2n, 2 ** 24)).to.throw(RangeError, 'position 16777216');
    expect(() => lineageHash(1n, 2n, -1)).to.throw(RangeError, 'position -1');
    expect(() => lineageParts(3n << 126n)).to.throw(RangeError, 'mode');
  });
});
