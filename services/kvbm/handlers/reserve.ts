import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import { priorityLevels } from '#core/blocks/eviction/policy.ts';
import { type KvBlockService, ReserveResponseSchema } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { chainOf } from '../chain.ts';
import type { KvbmContext } from '../context.ts';
import { refusing } from '../refusals.ts';

export function reserve({ holders, host, config }: KvbmContext): Partial<ServiceImpl<typeof KvBlockService>> {
  return {
    reserve(request) {
      const holder = holders.acting(request.holderId);
      const chain = chainOf(request.chain, holder, config.maxChainBlocks);
      const { priority } = request;
      if (priority >= priorityLevels)
        throw StatorError.invalid('priority', `The priority must be from 0 to ${priorityLevels - 1}.`);
      const { blocks, slots, generations } = refusing(() => host.reserve(holder.id, chain, priority, holder.tag));
      return create(ReserveResponseSchema, { blocks: [...blocks], slots: [...slots], generations: [...generations] });
    },
  };
}
