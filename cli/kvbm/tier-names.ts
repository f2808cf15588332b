import { BlockTier } from '#gen/stator/kvbm/v1/kvbm_pb.ts';

const byName = {
  all: BlockTier.UNSPECIFIED,
  host: BlockTier.HOST,
  disk: BlockTier.DISK,
  object: BlockTier.OBJECT,
} as const;

/** Tier that a setting names. */
export function tierNamed(name: keyof typeof byName): BlockTier {
  return byName[name];
}

export function nameOfTier(tier: BlockTier): string {
  return Object.entries(byName).find(([, value]) => value === tier)?.[0] ?? 'peer';
}
