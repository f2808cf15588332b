import { expect } from 'chai';
import fc from 'fast-check';
import { DeficitRoundRobin } from './deficit-round-robin.ts';

/** Serves queues of costs until none can go; gives the classes in their order. */
function serveAll(quanta: readonly number[], queues: number[][]): number[] {
  const robin = new DeficitRoundRobin(quanta);
  const order: number[] = [];
  for (;;) {
    const index = robin.next((i) => queues[i]?.[0]);
    if (index === undefined) return order;
    order.push(index);
    const cost = queues[index]?.shift() ?? 0;
    robin.spend(index, cost, queues[index]?.length === 0);
  }
}

/** The same by the book: rounds are walked one at a time. */
function serveAllNaively(quanta: readonly number[], queues: number[][]): number[] {
  const deficits = quanta.map(() => 0);
  const order: number[] = [];
  let cursor = 0;
  while (queues.some((queue) => queue.length > 0)) {
    const index = cursor % quanta.length;
    cursor++;
    const queue = queues[index] ?? [];
    if (queue.length === 0) continue;
    let deficit = (deficits[index] ?? 0) + (quanta[index] ?? 0);
    while (queue[0] !== undefined && queue[0] <= deficit) {
      deficit -= queue.shift() ?? 0;
      order.push(index);
    }
    deficits[index] = queue.length === 0 ? 0 : deficit;
  }
  return order;
}

const classes = fc
  .array(
    fc.record({
      quantum: fc.integer({ min: 1, max: 50 }),
      costs: fc.array(fc.integer({ min: 1, max: 300 }), { maxLength: 40 }),
    }),
    { minLength: 1, maxLength: 5 },
  )
  .map((list) => ({ quanta: list.map(({ quantum }) => quantum), queues: list.map(({ costs }) => costs) }));

describe('DeficitRoundRobin', () => {
  it('serves a class with three times the quantum three times as often', () => {
    const order = serveAll([30, 10], [Array(30).fill(10), Array(10).fill(10)]);
    expect(order.slice(0, 8)).to.deep.equal([0, 0, 0, 1, 0, 0, 0, 1]);
  });

  it('skips rounds in which nobody can go: the cheaper head per quantum goes first', () => {
    expect(serveAll([1, 1], [[1000], [10]])).to.deep.equal([1, 0]);
    expect(serveAll([100, 1], [[1000], [11]])).to.deep.equal([0, 1]);
  });

  it('lets a class spend what it carried before others have their turn', () => {
    const robin = new DeficitRoundRobin([10, 10]);
    expect(robin.next(() => 4)).to.equal(0);
    robin.spend(0, 4, false);
    expect(robin.deficitOf(0)).to.equal(6);
    expect(robin.next(() => 4)).to.equal(0);
    robin.spend(0, 4, false);
    expect(robin.next(() => 4)).to.equal(1);
  });

  it('goes on where it was: a class that always has work starves nobody', () => {
    const robin = new DeficitRoundRobin([1, 1, 1]);
    const order = [0, 1, 2, 3, 4, 5].map(() => {
      const index = robin.next(() => 1) ?? -1;
      robin.spend(index, 1, true);
      return index;
    });
    expect(order).to.deep.equal([0, 1, 2, 0, 1, 2]);
  });

  it('passes over a class that cannot go, without credit for it', () => {
    const robin = new DeficitRoundRobin([10, 10]);
    expect(robin.next((index) => (index === 0 ? undefined : 25))).to.equal(1);
    expect(robin.deficitOf(0)).to.equal(0);
    expect(robin.next(() => undefined)).to.equal(undefined);
  });

  it('gives no credit for asking in vain', () => {
    const robin = new DeficitRoundRobin([10, 10]);
    expect(robin.next(() => 4)).to.equal(0);
    robin.spend(0, 4, false);
    for (let i = 0; i < 5; i++) expect(robin.next(() => undefined)).to.equal(undefined);
    expect(robin.next(() => 7)).to.equal(1);
    expect([robin.deficitOf(0), robin.deficitOf(1)]).to.deep.equal([6, 10]);
  });

  it('takes its credit from a class that ran empty', () => {
    const robin = new DeficitRoundRobin([100, 1]);
    expect(robin.next(() => 1)).to.equal(0);
    robin.spend(0, 1, true);
    expect(robin.deficitOf(0)).to.equal(0);
    robin.next((index) => (index === 1 ? 5 : undefined));
    robin.reset(1);
    expect(robin.deficitOf(1)).to.equal(0);
  });

  it('serves everything, and each class in its own order', () => {
    fc.assert(
      fc.property(classes, ({ quanta, queues }) => {
        const order = serveAll(quanta, structuredClone(queues));
        for (const [index, queue] of queues.entries())
          expect(order.filter((served) => served === index).length).to.equal(queue.length);
      }),
      { numRuns: 500 },
    );
  });

  it('serves exactly as rounds walked one by one would', () => {
    fc.assert(
      fc.property(classes, ({ quanta, queues }) => {
        const fast = serveAll(quanta, structuredClone(queues));
        expect(fast).to.deep.equal(serveAllNaively(quanta, structuredClone(queues)));
      }),
      { numRuns: 1000 },
    );
  });

  it('keeps classes that always have work within a quantum and their largest cost of their share', () => {
    fc.assert(
      fc.property(classes, ({ quanta, queues }) => {
        const full = queues.map((queue) => [...queue, ...Array(60).fill(7)]);
        const order = serveAll(quanta, structuredClone(full));
        const served = quanta.map(() => 0);
        const at = quanta.map(() => 0);
        for (const index of order.slice(0, firstEmptied(full, order))) {
          served[index] = (served[index] ?? 0) + (full[index]?.[at[index] ?? 0] ?? 0);
          at[index] = (at[index] ?? 0) + 1;
          // In whole rounds: a class may be one turn ahead and save less than one head.
          const rounds = served.map((tokens, i) => tokens / (quanta[i] ?? 1));
          const slack = 1 + Math.max(...quanta.map((quantum, i) => Math.max(...(full[i] ?? [])) / quantum));
          expect(Math.max(...rounds) - Math.min(...rounds)).to.be.at.most(slack + 1e-9);
        }
      }),
      { numRuns: 1000 },
    );
  });
});

/** How many were served when the first class ran empty. */
function firstEmptied(queues: readonly number[][], order: readonly number[]): number {
  const left = queues.map((queue) => queue.length);
  const found = order.findIndex((index) => {
    left[index] = (left[index] ?? 0) - 1;
    return left[index] === 0;
  });
  return found < 0 ? order.length : found;
}
