import { expect } from 'chai';
import { Turns } from './turns.ts';

const never = new AbortController().signal;

describe('Turns', () => {
  it('lets so many run at once, the others in their order', async () => {
    const turns = new Turns(2);
    const order: number[] = [];
    const [first, second] = [await turns.take(never), await turns.take(never)];
    const numbered = async (number: number): Promise<() => void> => {
      const over = await turns.take(never);
      order.push(number);
      return over;
    };
    const third = numbered(3);
    const fourth = numbered(4);
    expect([turns.isFull, turns.running]).to.deep.equal([true, 2]);
    first();
    first();
    (await third)();
    (await fourth)();
    second();
    expect([order, turns.running]).to.deep.equal([[3, 4], 0]);
  });

  it('forgets who leaves while it waits', async () => {
    const turns = new Turns(1);
    const over = await turns.take(never);
    const leaving = new AbortController();
    const left = turns.take(leaving.signal).catch((reason: unknown) => reason);
    const next = turns.take(never);
    leaving.abort('gone');
    expect(await left).to.equal('gone');
    over();
    (await next)();
    expect(turns.running).to.equal(0);
    const late = await turns.take(AbortSignal.abort('late')).catch((reason: unknown) => reason);
    expect([late, turns.running]).to.deep.equal(['late', 0]);
  });
});
