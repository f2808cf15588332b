import { lineage } from '#core/blocks/eviction/lineage.ts';
import { lru } from '#core/blocks/eviction/lru.ts';
import { multiLru } from '#core/blocks/eviction/multi-lru.ts';
import type { EvictionPolicyFactory } from '#core/blocks/eviction/policy.ts';
import type { KvbmConfig } from './config.ts';

export const evictionPolicies: Readonly<Record<KvbmConfig['evictionPolicy'], EvictionPolicyFactory>> = {
  lru,
  'multi-lru': (slots) => multiLru()(slots),
  lineage,
};
