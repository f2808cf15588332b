import { expect } from 'chai';
import { hashCount, packHashes, unpackHashes } from './packed-hashes.ts';

describe('packed hashes', () => {
  const hashes = BigUint64Array.of(1n, 0xfedc_ba98_7654_3210n);

  it('are little-endian', () => {
    expect(Buffer.from(packHashes(hashes)).toString('hex')).to.equal('01000000000000001032547698badcfe');
    expect(hashCount(packHashes(hashes))).to.equal(2);
  });

  it('come back from any place in a buffer', () => {
    for (let shift = 0; shift < 8; shift++) {
      const bytes = new Uint8Array(32);
      bytes.set(packHashes(hashes), shift);
      expect([...unpackHashes(bytes.subarray(shift, shift + 16))]).to.deep.equal([...hashes]);
    }
  });

  it('refuses a broken column', () => {
    expect(() => unpackHashes(new Uint8Array(9))).to.throw(RangeError, '9 bytes');
  });
});
