import { createHash } from 'node:crypto';
import { expect } from 'chai';
import { digestBytes, prefixDigests } from './prefix-digest.ts';

const hex = (digests: Uint8Array, block: number): string =>
  Buffer.from(digests.subarray(block * digestBytes, (block + 1) * digestBytes)).toString('hex');

describe('prefixDigests', () => {
  it('chains SHA-256 over little-endian token ids', () => {
    const digests = prefixDigests(Uint32Array.of(1, 2, 0x01020304, 4, 5), 2);
    const first = createHash('sha256')
      .update(Buffer.from(`${'00'.repeat(16)}0100000002000000`, 'hex'))
      .digest()
      .subarray(0, 16);
    const second = createHash('sha256').update(first).update(Buffer.from('0403020104000000', 'hex')).digest();
    expect(digests.length).to.equal(2 * digestBytes);
    expect(hex(digests, 0)).to.equal(first.toString('hex'));
    expect(hex(digests, 1)).to.equal(second.subarray(0, 16).toString('hex'));
    // Kept for ever: what lies at rest is found by it.
    expect(hex(digests, 1)).to.equal('fd808e476a0eefffd4b76349b34a0fd6');
  });

  it('depends on everything before a block, and on nothing after it', () => {
    const a = prefixDigests(Uint32Array.of(1, 2, 3, 4, 5, 6), 2);
    const b = prefixDigests(Uint32Array.of(9, 2, 3, 4, 5, 6), 2);
    const c = prefixDigests(Uint32Array.of(1, 2, 3, 4, 7), 2);
    expect(hex(a, 2)).to.not.equal(hex(b, 2));
    expect(hex(a, 1)).to.equal(hex(c, 1));
    expect(prefixDigests(Uint32Array.of(1), 2)).to.deep.equal(new Uint8Array());
  });

  it('reads views that do not begin at the start of their buffer', () => {
    const tokens = Uint32Array.of(7, 1, 2, 3, 4);
    expect(prefixDigests(tokens.subarray(1), 2)).to.deep.equal(prefixDigests(Uint32Array.of(1, 2, 3, 4), 2));
  });
});
