import { expect } from 'chai';
import { pageOf } from './page.ts';

describe('pages of lists', () => {
  const all = ['a', 'b', 'c', 'd', 'e'].map((id) => ({ id }));
  const ids = (o: { limit: number; after?: string; before?: string }) => {
    const { items, hasMore } = pageOf(all, { limit: o.limit, after: o.after ?? null, before: o.before ?? null });
    return `${items.map(({ id }) => id).join('')}${hasMore ? '+' : ''}`;
  };

  it('go forwards from a cursor', () => {
    expect(ids({ limit: 2 })).to.equal('ab+');
    expect(ids({ limit: 2, after: 'b' })).to.equal('cd+');
    expect(ids({ limit: 2, after: 'd' })).to.equal('e');
    expect(ids({ limit: 2, after: 'e' })).to.equal('');
    expect(ids({ limit: 5 })).to.equal('abcde');
  });

  it('go backwards from a cursor', () => {
    expect(ids({ limit: 2, before: 'e' })).to.equal('cd+');
    expect(ids({ limit: 2, before: 'c' })).to.equal('ab');
    expect(ids({ limit: 2, before: 'a' })).to.equal('');
  });
});
