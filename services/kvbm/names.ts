import { BlockTier } from '#gen/stator/kvbm/v1/kvbm_pb.ts';

/** Names of tiers and sources, by tier index and `peerSource`. */
export const tierNames = ['host', 'disk', 'object', 'peer'] as const;

/** Tiers and sources as contracts number them. */
export const wireTiers = [BlockTier.HOST, BlockTier.DISK, BlockTier.OBJECT, BlockTier.PEER] as const;
