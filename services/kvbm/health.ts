import type { KvbmContext } from './context.ts';
import { tierNames } from './names.ts';

/** Tiers that do not work now, and why. */
export function degradations({ lower }: Pick<KvbmContext, 'lower'>): Record<string, string> {
  return Object.fromEntries(
    lower.tiers.flatMap((tier) => {
      const reason = tier.degraded();
      return reason === null ? [] : [[tierNames[tier.tier], reason]];
    }),
  );
}
