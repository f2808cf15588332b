import type { CandidateTable } from './candidate-table.ts';
import { type CostSettings, settingsFor } from './cost-settings.ts';
import { byTemperature, cheapest } from './pick.ts';
import type { RoutingPolicy } from './policy.ts';

/** A policy of which the cheapest candidate wins, or chance by temperature. */
export function scored(policy: Omit<RoutingPolicy, 'pick'>, settings: CostSettings): RoutingPolicy {
  return {
    ...policy,
    pick: ({ costs, count }, prompt, random) =>
      byTemperature(costs, count, settingsFor(settings, prompt).temperature, random),
  };
}

/** A policy of which the cheapest candidate wins, whatever the temperature. */
export function cheapestOf(policy: Omit<RoutingPolicy, 'pick'>): RoutingPolicy {
  return { ...policy, pick: ({ costs, count }, _prompt, random) => cheapest(costs, count, random) };
}

/** Smallest value of a column. */
export function leastOf(column: Float64Array, candidates: CandidateTable): number {
  let least = Infinity;
  for (let row = 0; row < candidates.count; row++) {
    const value = column[row] ?? Infinity;
    if (value < least) least = value;
  }
  return least;
}

/** Largest value of a column, at least 0. */
export function mostOf(column: Float64Array, candidates: CandidateTable): number {
  let most = 0;
  for (let row = 0; row < candidates.count; row++) {
    const value = column[row] ?? 0;
    if (value > most) most = value;
  }
  return most;
}
