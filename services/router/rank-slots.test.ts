import { expect } from 'chai';
import { RankSlots } from './rank-slots.ts';

describe('RankSlots', () => {
  it('gives each rank a number of its own and uses freed ones again', () => {
    const slots = new RankSlots();
    expect([slots.slotOf(1n, 0), slots.slotOf(1n, 1), slots.slotOf(2n, 0)]).to.deep.equal([0, 1, 2]);
    expect(slots.slotOf(1n, 1)).to.equal(1);
    expect(slots.rank(2)).to.deep.equal({ instanceId: 2n, dataParallelRank: 0 });
    slots.release(1n);
    expect([slots.rank(0), slots.rank(1), slots.slotsOf(1n)]).to.deep.equal([undefined, undefined, []]);
    expect([slots.slotOf(3n, 0), slots.slotOf(3n, 1)].toSorted()).to.deep.equal([0, 1]);
    expect(slots.capacity).to.equal(3);
  });
});
