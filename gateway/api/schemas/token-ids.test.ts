import { expect } from 'chai';
import { z } from 'zod';
import { tokenIdList } from './token-ids.ts';

describe('list of token ids', () => {
  const elementwise = z.array(z.int().min(0).max(0xffff_ffff)).min(1);
  const cases: readonly unknown[] = [
    [[0, 1, 0xffff_ffff]],
    [],
    [1, 2, -1],
    [1, 1.5],
    [1, Number.NaN],
    [0x1_0000_0000],
    ['1', 2],
    [1, null],
    [1, 2, 3],
    new Array(3),
    '1,2',
    { length: 1, 0: 1 },
    undefined,
  ];

  it('takes and refuses what checking each element would, with the same words', () => {
    for (const value of cases) {
      const [fast, slow] = [tokenIdList().safeParse(value), elementwise.safeParse(value)];
      expect(fast.success, JSON.stringify(value)).to.equal(slow.success);
      expect(fast.error?.issues).to.deep.equal(slow.error?.issues);
      expect(fast.data).to.deep.equal(slow.data);
    }
  });

  it('is described as such a list', () => {
    expect(z.toJSONSchema(tokenIdList())).to.deep.equal(z.toJSONSchema(elementwise));
  });
});
