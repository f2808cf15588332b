import { expect } from 'chai';
import { unpackHashes } from '#core/tokens/packed-hashes.ts';
import { promptOf } from './prompt.ts';

describe('prompts of the REST interface', () => {
  const sequence = [14643705804678351452n, 4945711292740353085n, 12583592247330656132n];
  const local = [14643705804678351452n, 16777012769546811212n, 483935686894639516n];

  it('mean the same in every form', () => {
    const tokens = promptOf({ token_ids: Array.from({ length: 13 }, (_, i) => i + 1) }, 4);
    expect(tokens.tokens).to.equal(13);
    expect([...unpackHashes(tokens.sequenceHashes)]).to.deep.equal(sequence);
    expect([...unpackHashes(promptOf({ sequence_hashes: sequence }, 4).sequenceHashes)]).to.deep.equal(sequence);
    const own = promptOf({ block_hashes: local }, 4);
    expect([...unpackHashes(own.sequenceHashes)]).to.deep.equal(sequence);
    expect(own.tokens).to.equal(12);
  });

  it('are refused without content, and with a salt that hashes cannot take', () => {
    expect(() => promptOf({}, 4)).to.throw('token_ids');
    expect(() => promptOf({ sequence_hashes: sequence, cache_salt: 'x' }, 4)).to.throw('salt');
  });
});
