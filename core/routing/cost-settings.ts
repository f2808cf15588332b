import type { CostOverrides, RoutedPrompt } from './policy.ts';

/** How the KV policies weigh load against cached blocks. */
export interface CostSettings {
  /** What a cached block on the device takes off the prefill. */
  readonly overlapCredit: number;
  /** How fast that fades on workers that have more prompts to compute than others. 0: not at all. */
  readonly overlapCreditDecay: number;
  /** What a block to prefill costs, in blocks held. */
  readonly prefillLoadScale: number;
  /** What a request in flight costs, in blocks held. */
  readonly decodeActiveRequestWeight: number;
  /** What a cached block in host memory takes off. */
  readonly hostCacheHitWeight: number;
  /** What one on disk or elsewhere takes off. */
  readonly diskCacheHitWeight: number;
  /** What one takes off that only a cache shared by all workers has. */
  readonly sharedCacheMultiplier: number;
  /** Whether prompts count as work. */
  readonly trackPrefillTokens: boolean;
  /** Whether cached blocks count in the decode stage too, where a worker that has them may skip the prefill elsewhere. */
  readonly conditionalDecode: boolean;
  /** Weight of the prefill in the cost of version 0.8. */
  readonly overlapScoreWeight: number;
  /** 0: the cheapest; above: the dearer, the rarer, and the higher the more even. */
  readonly temperature: number;
}

export const defaultCostSettings: CostSettings = {
  overlapCredit: 1,
  overlapCreditDecay: 0,
  prefillLoadScale: 1,
  decodeActiveRequestWeight: 0,
  hostCacheHitWeight: 0.75,
  diskCacheHitWeight: 0.25,
  sharedCacheMultiplier: 0.5,
  trackPrefillTokens: true,
  conditionalDecode: false,
  overlapScoreWeight: 1,
  temperature: 0,
};

/** The settings that hold for a request: its own first, then what its stage implies. */
export function settingsFor(settings: CostSettings, { stage, overrides }: RoutedPrompt): CostSettings {
  if (stage === undefined && overrides === undefined) return settings;
  const decode = stage === 'decode';
  const { conditionalDecode = settings.conditionalDecode } = overrides ?? {};
  return {
    overlapCredit: overrides?.overlapCredit ?? (decode && !conditionalDecode ? 0 : settings.overlapCredit),
    overlapCreditDecay: overrides?.overlapCreditDecay ?? settings.overlapCreditDecay,
    prefillLoadScale: overrides?.prefillLoadScale ?? settings.prefillLoadScale,
    decodeActiveRequestWeight: overrides?.decodeActiveRequestWeight ?? settings.decodeActiveRequestWeight,
    hostCacheHitWeight: overrides?.hostCacheHitWeight ?? settings.hostCacheHitWeight,
    diskCacheHitWeight: overrides?.diskCacheHitWeight ?? settings.diskCacheHitWeight,
    sharedCacheMultiplier: overrides?.sharedCacheMultiplier ?? settings.sharedCacheMultiplier,
    trackPrefillTokens: overrides?.trackPrefillTokens ?? (!decode && settings.trackPrefillTokens),
    conditionalDecode,
    overlapScoreWeight: overrides?.overlapScoreWeight ?? settings.overlapScoreWeight,
    temperature: overrides?.temperature ?? settings.temperature,
  };
}

/** Name of an override that is no weight, that is negative or not finite; null: all are. */
export function invalidOverride(overrides: CostOverrides): keyof CostOverrides | null {
  for (const [name, value] of Object.entries(overrides))
    if (typeof value === 'number' && !(value >= 0 && value < Infinity)) return name as keyof CostOverrides;
  return null;
}
