import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import { tiers } from '#core/blocks/tiers.ts';
import { type KvBlockService, PurgeResponseSchema } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { KvbmContext } from '../context.ts';
import { tierNames } from '../names.ts';
import { saltDigest, tenantOf } from '../namespace-book.ts';
import type { LowerTier } from '../tiers.ts';

export function purge({ manager, host, lower, log }: KvbmContext): Partial<ServiceImpl<typeof KvBlockService>> {
  return {
    async purge({ cacheSalt }) {
      if (cacheSalt === '') throw StatorError.invalid('cache_salt', 'Whose blocks are to be dropped is not said.');
      const tenant = tenantOf(saltDigest(cacheSalt));
      const before = manager.counters.purged;
      host.purge(tenant);
      const blocks = manager.counters.purged - before;
      const dropped = await Promise.all(lower.tiers.map((tier) => purgeTier(tier, tenant)));
      const objects = dropped.reduce((sum, [tier, count]) => (tier === tiers.object ? sum + count : sum), 0);
      log.info({ tenant, blocks, objects }, 'a tenant was purged');
      return create(PurgeResponseSchema, { blocks: BigInt(blocks), objects: BigInt(objects) });
    },
  };
}

/** Throws StatorError `storage_unavailable`: the caller must ask again, what is at rest may still be there. */
async function purgeTier(tier: LowerTier, tenant: string): Promise<[number, number]> {
  try {
    return [tier.tier, await tier.purge(tenant)];
  } catch (cause) {
    const where = tierNames[tier.tier];
    throw new StatorError(
      'storage_unavailable',
      `What is at rest in tier ${where} could not be dropped: purge again.`,
      {
        facts: { tier: where },
        cause,
      },
    );
  }
}
