import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import { type KvBlockService, PrefetchResponseSchema } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { chainOf } from '../chain.ts';
import type { KvbmContext } from '../context.ts';
import { Prefetches } from '../prefetches.ts';

export function prefetch(context: KvbmContext): Partial<ServiceImpl<typeof KvBlockService>> {
  const { holders, config } = context;
  const prefetches = new Prefetches(context);
  return {
    prefetch(request) {
      const holder = holders.acting(request.holderId);
      const chain = chainOf(request.chain, holder, config.maxChainBlocks);
      return create(PrefetchResponseSchema, { blocks: prefetches.begin(chain, holder.layout) });
    },
  };
}
