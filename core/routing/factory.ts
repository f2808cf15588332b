import { direct } from './direct.ts';
import { leastLoaded } from './least-loaded.ts';
import type { RoutingPolicy } from './policy.ts';
import { powerOfTwo } from './power-of-two.ts';
import { uniformRandom } from './random.ts';
import { roundRobin } from './round-robin.ts';

const policies = {
  'round-robin': roundRobin,
  random: uniformRandom,
  'power-of-two': powerOfTwo,
  'least-loaded': leastLoaded,
  direct,
} as const satisfies Record<string, () => RoutingPolicy>;

export type PolicyName = keyof typeof policies;

export const policyNames = Object.keys(policies) as readonly PolicyName[];

export function createPolicy(name: PolicyName): RoutingPolicy {
  return policies[name]();
}
