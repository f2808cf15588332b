import type { CandidateTable } from './candidate-table.ts';
import type { CostSettings } from './cost-settings.ts';
import { loadOf, loadTerms, requestsOn } from './load.ts';
import type { RoutedPrompt, RoutingPolicy } from './policy.ts';
import { mostOf, scored } from './scored.ts';

export interface TwoTierSettings {
  /** Load alone decides where the most and the least loaded worker differ by more requests than this, … */
  readonly imbalanceRequests: number;
  /** … and by more than this factor. */
  readonly imbalanceRatio: number;
  /** Otherwise the workers with most of the prompt come first if they have more than this fraction of it. */
  readonly overlapFraction: number;
}

export const defaultTwoTierSettings: TwoTierSettings = {
  imbalanceRequests: 32,
  imbalanceRatio: 1.1,
  overlapFraction: 0.5,
};

/** The least loaded of those that have most of the prompt, if they have enough and load is even; otherwise the least loaded of all. */
export function twoTier(limits: TwoTierSettings, settings: CostSettings): RoutingPolicy {
  const wanted = (candidates: CandidateTable, { blocks }: RoutedPrompt): number => {
    let least = Infinity;
    let most = 0;
    for (let row = 0; row < candidates.count; row++) {
      const requests = requestsOn(candidates, row);
      least = Math.min(least, requests);
      most = Math.max(most, requests);
    }
    if (most - least > limits.imbalanceRequests && most > limits.imbalanceRatio * least) return 0;
    const overlap = mostOf(candidates.deviceBlocks, candidates);
    return overlap / Math.max(1, blocks) > limits.overlapFraction ? overlap : 0;
  };
  return scored(
    {
      name: 'two-tier',
      weigh(candidates, prompt) {
        const overlap = wanted(candidates, prompt);
        const penalty = heaviest(candidates);
        for (let row = 0; row < candidates.count; row++) {
          const second = (candidates.deviceBlocks[row] ?? 0) < overlap;
          candidates.costs[row] = loadOf(candidates, row) + (second ? penalty : 0);
        }
      },
      terms(candidates, prompt, row) {
        const overlap = wanted(candidates, prompt);
        const device = candidates.deviceBlocks[row] ?? 0;
        return {
          ...loadTerms(candidates, row),
          device_blocks: device,
          wanted_device_blocks: overlap,
          second_tier: Number(device < overlap),
          second_tier_penalty: heaviest(candidates),
        };
      },
    },
    settings,
  );
}

/** More than any load, so that no candidate of the second tier is cheaper than one of the first. */
export function heaviest(candidates: CandidateTable): number {
  let most = 0;
  for (let row = 0; row < candidates.count; row++) most = Math.max(most, loadOf(candidates, row));
  return most + 1;
}
