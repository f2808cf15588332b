import { Tier } from '#gen/stator/events/v1/events_pb.ts';

/** Tiers that a block manager keeps, warmest first: their numbers index its columns. Workers keep G1 themselves. */
export const tiers = { host: 0, disk: 1, object: 2 } as const;

export type TierIndex = (typeof tiers)[keyof typeof tiers];

export const tierCount = 3;

export const warmestFirst: readonly TierIndex[] = [tiers.host, tiers.disk, tiers.object];

/** The tier as events name it. */
export const eventTier = [Tier.HOST, Tier.DISK, Tier.EXTERNAL] as const satisfies readonly Tier[];
