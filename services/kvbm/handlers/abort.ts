import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import { AbortResponseSchema, type KvBlockService } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import type { KvbmContext } from '../context.ts';
import { refusing } from '../refusals.ts';
import { checkSlots, ticketsOf } from './commit.ts';

export function abort({ holders, host, config }: KvbmContext): Partial<ServiceImpl<typeof KvBlockService>> {
  return {
    abort(request) {
      const holder = holders.acting(request.holderId);
      checkSlots(request.slots, request.generations, config.maxChainBlocks);
      const tickets = { ...ticketsOf(request), arena: holder.layout.index };
      return create(AbortResponseSchema, { aborted: refusing(() => host.abort(holder.id, tickets)) });
    },
  };
}
