import { expect } from 'chai';
import { exponential, gamma, geometric, lognormal, normal, type Random, seeded } from './random.ts';

/** Mean and deviation of many draws. */
function moments(draw: (random: Random) => number): { mean: number; deviation: number } {
  const random = seeded(11, 'moments');
  const values = Array.from({ length: 100_000 }, () => draw(random));
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
  return { mean, deviation: Math.sqrt(variance) };
}

describe('random numbers', () => {
  it('repeat for a seed, and differ by seed and by stream', () => {
    const first = (random: Random): number[] => Array.from({ length: 5 }, random);
    expect(first(seeded(1, 'a'))).to.deep.equal(first(seeded(1, 'a')));
    const starts = [seeded(1, 'a'), seeded(1, 'b'), seeded(2, 'a'), seeded(1)].map((random) => first(random).join());
    expect(new Set(starts).size).to.equal(4);
  });

  it('have the mean and the spread of their distribution', () => {
    const cases: [string, (random: Random) => number, number, number][] = [
      ['normal', normal, 0, 1],
      ['exponential', (random) => exponential(random, 5), 5, 5],
      ['gamma, bursty', (random) => gamma(random, 0.25, 8), 8, 16],
      ['gamma, even', (random) => gamma(random, 4, 8), 8, 4],
      ['lognormal', (random) => lognormal(random, 10, 0.5), 10, 10 * Math.sqrt(Math.exp(0.25) - 1)],
      ['geometric', (random) => geometric(random, 4), 4, Math.sqrt(12)],
    ];
    for (const [name, draw, mean, deviation] of cases) {
      const found = moments(draw);
      expect(found.mean, name).to.be.closeTo(mean, 0.03 * Math.max(1, mean));
      expect(found.deviation, name).to.be.closeTo(deviation, 0.05 * deviation);
    }
  });
});
