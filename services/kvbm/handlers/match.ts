import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import { type KvBlockService, MatchResponseSchema } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { chainOf } from '../chain.ts';
import type { KvbmContext } from '../context.ts';
import { tierNames } from '../names.ts';

export function match({ holders, manager, config, metrics }: KvbmContext): Partial<ServiceImpl<typeof KvBlockService>> {
  return {
    match(request) {
      const chain = chainOf(request.chain, holders.acting(request.holderId), config.maxChainBlocks);
      const found = manager.match(chain.namespace, chain.digests);
      for (const [tier, name] of tierNames.entries()) {
        const blocks = found.reduce((sum, at) => sum + (at === tier ? 1 : 0), 0);
        if (blocks > 0) metrics.matches(blocks, name);
      }
      return create(MatchResponseSchema, { tiers: found.map((tier) => tier + 1) });
    },
  };
}
