import { expect } from 'chai';
import { MemoryPool } from './memory-pool.ts';

describe('memory of handoffs', () => {
  it('is used again where it is about as large, and no more of it is kept than is allowed', () => {
    const pool = new MemoryPool(3000);
    const first = pool.take(1000);
    pool.give(first);
    expect(pool.idleBytes).to.equal(1000);
    expect(pool.take(400).buffer).to.not.equal(first.buffer);
    const again = pool.take(600);
    expect([again.buffer === first.buffer, again.length, pool.idleBytes]).to.deep.equal([true, 600, 0]);
    pool.give(again);
    const taken = [pool.take(1500), pool.take(1500)];
    for (const memory of taken) pool.give(memory);
    expect(pool.idleBytes).to.equal(3000);
    expect(pool.take(1000).buffer).to.not.equal(first.buffer);
    pool.give(pool.take(4000));
    expect(pool.idleBytes).to.equal(0);
  });
});
