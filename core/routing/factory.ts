import { type CostSettings, defaultCostSettings } from './cost-settings.ts';
import { deviceAwareWeighted } from './device-aware-weighted.ts';
import { direct } from './direct.ts';
import { kv } from './kv.ts';
import { kvV08 } from './kv-v08.ts';
import { leastLoaded } from './least-loaded.ts';
import { lmetric } from './lmetric.ts';
import type { RoutingPolicy } from './policy.ts';
import { powerOfTwo } from './power-of-two.ts';
import { uniformRandom } from './random.ts';
import { roundRobin } from './round-robin.ts';
import { tokenBalance } from './token-balance.ts';
import { defaultTwoTierSettings, type TwoTierSettings, twoTier } from './two-tier.ts';

/** Settings of all policies; what is left out has its default. */
export interface PolicySettings {
  readonly cost?: Partial<CostSettings>;
  readonly twoTier?: Partial<TwoTierSettings>;
}

const policies = {
  'round-robin': roundRobin,
  random: uniformRandom,
  'power-of-two': powerOfTwo,
  'least-loaded': leastLoaded,
  direct,
  kv,
  'kv-v08': kvV08,
  lmetric,
  'two-tier': (cost, { twoTier: limits }) => twoTier({ ...defaultTwoTierSettings, ...limits }, cost),
  'device-aware-weighted': deviceAwareWeighted,
  'token-balance': tokenBalance,
} as const satisfies Record<string, (cost: CostSettings, settings: PolicySettings) => RoutingPolicy>;

export type PolicyName = keyof typeof policies;

export const policyNames = Object.keys(policies) as readonly PolicyName[];

export function createPolicy(name: PolicyName, settings: PolicySettings = {}): RoutingPolicy {
  return policies[name]({ ...defaultCostSettings, ...settings.cost }, settings);
}
