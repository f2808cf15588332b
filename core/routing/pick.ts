import type { Random } from './policy.ts';

/** Row of the smallest cost; ties are broken uniformly at random by reservoir sampling. */
export function cheapest(costs: Float64Array, count: number, random: Random): number {
  let best = 0;
  let smallest = Infinity;
  let ties = 0;
  for (let row = 0; row < count; row++) {
    const cost = costs[row] ?? Infinity;
    if (cost < smallest) {
      best = row;
      smallest = cost;
      ties = 1;
    } else if (cost === smallest && random() * ++ties < 1) {
      best = row;
    }
  }
  return best;
}

/**
 * A row at random, with probabilities proportional to exp(−n/T), where n runs from 0 for the cheapest to 1 for the
 * dearest; uniform where all cost the same. T = 0 is the cheapest.
 */
export function byTemperature(costs: Float64Array, count: number, temperature: number, random: Random): number {
  if (temperature <= 0) return cheapest(costs, count, random);
  let least = Infinity;
  let most = -Infinity;
  for (let row = 0; row < count; row++) {
    const cost = costs[row] ?? Infinity;
    if (cost < least) least = cost;
    if (cost > most) most = cost;
  }
  const range = most - least;
  if (!(range > 0)) return Math.min(count - 1, Math.floor(random() * count));
  let sum = 0;
  for (let row = 0; row < count; row++) sum += odds(costs[row], least, range, temperature);
  let left = random() * sum;
  let last = 0;
  for (let row = 0; row < count; row++) {
    const share = odds(costs[row], least, range, temperature);
    if (share === 0) continue;
    last = row;
    left -= share;
    if (left < 0) break;
  }
  return last;
}

function odds(cost: number | undefined, least: number, range: number, temperature: number): number {
  return Math.exp(-((cost ?? Infinity) - least) / range / temperature);
}
