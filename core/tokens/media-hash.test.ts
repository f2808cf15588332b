import { expect } from 'chai';
import { mediaHashOf, mediaHashOfMarker, mediaMarker, mediaPadToken } from './media-hash.ts';

describe('media hashes', () => {
  it("are Dynamo's for digests and for any other identifier", () => {
    expect(mediaHashOf('0123456789abcdef'.repeat(4))).to.equal(0x0123456789abcdefn);
    expect(mediaHashOf('opaque-renderer-image-0')).to.equal(14437604544409538977n);
    expect(mediaHashOf('x')).to.equal(16929150178197425425n);
    expect(mediaHashOf('')).to.equal(null);
  });

  it('go to engines and back as markers', () => {
    expect(mediaMarker(0x123n)).to.equal(`0000000000000123${'0'.repeat(48)}`);
    for (const hash of [0n, 0x123n, 2n ** 64n - 1n]) expect(mediaHashOfMarker(mediaMarker(hash))).to.equal(hash);
  });

  it('are not read out of digests that an engine made itself', () => {
    expect(mediaHashOfMarker('0123456789abcdef'.repeat(4))).to.equal(null);
    expect(mediaHashOfMarker('123')).to.equal(null);
    expect(mediaHashOfMarker(`${'g'.repeat(16)}${'0'.repeat(48)}`)).to.equal(null);
  });

  it('give pad tokens of their low 30 bits', () => {
    expect(mediaPadToken(9533257059414191570n)).to.equal(49115154);
    expect(mediaPadToken(2n ** 64n - 1n)).to.equal(1074741823);
    expect(mediaPadToken(0n)).to.equal(1_000_000);
  });
});
