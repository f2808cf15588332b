import { expect } from 'chai';
import { seeded } from '#core/sequences/twin.test-support.ts';
import { byTemperature, cheapest } from './pick.ts';

/** How often each row is chosen. */
function frequencies(costs: readonly number[], temperature: number, times = 20_000): number[] {
  const random = seeded(11);
  // Rows beyond the count hold what earlier decisions left.
  const column = new Float64Array([...costs, -1]);
  const counts = costs.map(() => 0);
  for (let i = 0; i < times; i++) {
    const row = byTemperature(column, costs.length, temperature, random);
    counts[row] = (counts[row] ?? 0) + 1;
  }
  return counts.map((chosen) => chosen / times);
}

describe('choice by cost', () => {
  it('takes the cheapest at temperature 0', () => {
    expect(frequencies([3, 1, 2], 0)).to.deep.equal([0, 1, 0]);
  });

  it('breaks ties of the cheapest evenly', () => {
    for (const share of frequencies([1, 1, 5, 1], 0).filter((_, row) => row !== 2))
      expect(share).to.be.closeTo(1 / 3, 0.02);
  });

  it('follows exp(−n/T) over costs from 0 for the cheapest to 1 for the dearest', () => {
    // n = 0, 0.5, 1 and T = 0.5: odds 1, e^−1, e^−2.
    const odds = [1, Math.exp(-1), Math.exp(-2)];
    const sum = odds.reduce((total, share) => total + share);
    for (const [row, share] of frequencies([10, 30, 50], 0.5).entries())
      expect(share).to.be.closeTo((odds[row] ?? 0) / sum, 0.015);
  });

  it('is uniform where all cost the same', () => {
    for (const share of frequencies([7, 7, 7, 7], 0.1)) expect(share).to.be.closeTo(0.25, 0.015);
  });

  it('is the cheapest at a very low temperature', () => {
    expect(frequencies([2, 1, 3], 1e-9, 100)).to.deep.equal([0, 1, 0]);
  });

  it('stays in range where chance is at its end', () => {
    const costs = new Float64Array([1, 2, 3]);
    for (const random of [() => 0, () => 1 - 2 ** -53])
      for (const temperature of [0, 0.2, 5]) expect(byTemperature(costs, 3, temperature, random)).to.be.within(0, 2);
    expect(cheapest(costs, 1, () => 0)).to.equal(0);
  });
});
