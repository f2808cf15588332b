import { type CostSettings, defaultCostSettings } from '#core/routing/cost-settings.ts';
import type { PolicySettings } from '#core/routing/factory.ts';
import { defaultTwoTierSettings } from '#core/routing/two-tier.ts';
import { type SettingsOf, setting } from '#lib/config/settings.ts';

const group = 'KV cost';
const weight = (value: number, help: string) => setting.number({ default: value, min: 0, max: 1e6, group, help });

/** How KV routing weighs load against cached blocks; costs are in blocks. */
export const costSettings = {
  overlapCredit: weight(defaultCostSettings.overlapCredit, 'What a cached block on the device takes off the prefill.'),
  overlapCreditDecay: weight(
    defaultCostSettings.overlapCreditDecay,
    'How fast that fades on workers that have more prompts to compute than others; 0: not at all.',
  ),
  // Twice Dynamo's: docs/decisions/0009-prefill-load-scale.md.
  prefillLoadScale: weight(2, 'What a block to prefill costs.'),
  activeRequestWeight: weight(defaultCostSettings.decodeActiveRequestWeight, 'What a request in flight costs.'),
  hostHitWeight: weight(defaultCostSettings.hostCacheHitWeight, 'What a cached block in host memory takes off.'),
  diskHitWeight: weight(defaultCostSettings.diskCacheHitWeight, 'What one on disk or elsewhere takes off.'),
  sharedCacheMultiplier: weight(
    defaultCostSettings.sharedCacheMultiplier,
    'What a block takes off that the worker has not itself but a cache shared by all workers has.',
  ),
  overlapScoreWeight: weight(defaultCostSettings.overlapScoreWeight, 'Weight of the prefill in the mode kv-v08.'),
  temperature: weight(
    defaultCostSettings.temperature,
    'Chance in the choice: 0 takes the cheapest worker, more spreads over dearer ones.',
  ),
  conditionalDecode: setting.boolean({
    default: defaultCostSettings.conditionalDecode,
    group,
    help: 'Whether cached blocks count where only the decode stage is placed.',
  }),
  loadAware: setting.boolean({
    default: false,
    group,
    help: 'Whether load alone decides: nothing is known of caches and no blocks count as shared, whatever other settings say.',
  }),
  assumeKvReuse: setting.boolean({
    default: true,
    group,
    help: 'Whether blocks that several requests of a worker have in common count as load once.',
  }),
  trackPrefillTokens: setting.boolean({
    default: defaultCostSettings.trackPrefillTokens,
    group,
    help: 'Whether prompts count as work.',
  }),
  trackActiveBlocks: setting.boolean({
    default: true,
    group,
    help: 'Whether blocks that requests hold count as load.',
  }),
  trackOutputBlocks: setting.boolean({ default: false, group, help: 'Whether blocks of output count too.' }),
  prefillLoadModel: setting.choice(['none', 'learned'], {
    default: 'none',
    group,
    help: 'Whether prompts that are being computed count less with time: learned from how long earlier ones took.',
  }),
  twoTierImbalanceRequests: weight(
    defaultTwoTierSettings.imbalanceRequests,
    'Mode two-tier: difference of requests above which load alone decides.',
  ),
  twoTierImbalanceRatio: weight(defaultTwoTierSettings.imbalanceRatio, 'Mode two-tier: the same as a factor.'),
  twoTierOverlapFraction: weight(
    defaultTwoTierSettings.overlapFraction,
    'Mode two-tier: fraction of the prompt above which the workers that have it come first.',
  ),
};

/** The settings with what their presets imply. */
export function withPresets<T extends SettingsOf<typeof costSettings> & { readonly kvEvents: boolean }>(config: T): T {
  return config.loadAware ? { ...config, overlapCredit: 0, kvEvents: false, assumeKvReuse: false } : config;
}

export function policySettings(
  config: SettingsOf<typeof costSettings> & { readonly conditionalDisagg: boolean },
): PolicySettings & { readonly cost: CostSettings } {
  return {
    cost: {
      ...defaultCostSettings,
      overlapCredit: config.overlapCredit,
      overlapCreditDecay: config.overlapCreditDecay,
      prefillLoadScale: config.prefillLoadScale,
      decodeActiveRequestWeight: config.activeRequestWeight,
      hostCacheHitWeight: config.hostHitWeight,
      diskCacheHitWeight: config.diskHitWeight,
      sharedCacheMultiplier: config.sharedCacheMultiplier,
      overlapScoreWeight: config.overlapScoreWeight,
      temperature: config.temperature,
      conditionalDecode: config.conditionalDecode || config.conditionalDisagg,
      trackPrefillTokens: config.trackPrefillTokens,
    },
    twoTier: {
      imbalanceRequests: config.twoTierImbalanceRequests,
      imbalanceRatio: config.twoTierImbalanceRatio,
      overlapFraction: config.twoTierOverlapFraction,
    },
  };
}
