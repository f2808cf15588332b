/** Numbers from 0 to below 1. */
export type Random = () => number;

/**
 * A generator that repeats for a seed (mulberry32). `stream` names what the numbers are for: each use has numbers of its
 * own, so that one use more or less does not shift the others.
 */
export function seeded(seed: number, stream = ''): Random {
  let state = Math.imul(seed ^ 0x3c6ef372, 0x9e3779b1);
  for (let i = 0; i < stream.length; i++) state = Math.imul(state ^ stream.charCodeAt(i), 0x5bd1e995) ^ (state >>> 13);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Exponential with the given mean. */
export function exponential(random: Random, mean: number): number {
  return -mean * Math.log(1 - random());
}

/** Standard normal (Box and Muller, one of the pair). */
export function normal(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** Lognormal with the given mean; `sigma` is the deviation of its logarithm. */
export function lognormal(random: Random, mean: number, sigma: number): number {
  return mean * Math.exp(sigma * normal(random) - (sigma * sigma) / 2);
}

/** Gamma of a shape with the given mean (Marsaglia and Tsang 2000). */
export function gamma(random: Random, shape: number, mean: number): number {
  const scale = mean / shape;
  if (shape < 1) return gammaOf(random, shape + 1) * (1 - random()) ** (1 / shape) * scale;
  return gammaOf(random, shape) * scale;
}

function gammaOf(random: Random, shape: number): number {
  const d = shape - 1 / 3;
  const c = 1 / Math.sqrt(9 * d);
  for (;;) {
    const x = normal(random);
    const v = (1 + c * x) ** 3;
    if (v > 0 && Math.log(1 - random()) < 0.5 * x * x + d - d * v + d * Math.log(v)) return d * v;
  }
}

/** Whole numbers from 1, each further one with probability 1 − 1 / mean. */
export function geometric(random: Random, mean: number): number {
  return mean <= 1 ? 1 : 1 + Math.floor(Math.log(1 - random()) / Math.log(1 - 1 / mean));
}
