import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import { type KvBlockService, ReleaseResponseSchema } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { KvbmContext } from '../context.ts';
import { inspect } from '../inspection.ts';

export function release(context: KvbmContext): Partial<ServiceImpl<typeof KvBlockService>> {
  const { holders, config, metrics } = context;
  return {
    async release({ holderId, leaseIds, suspectSlots }) {
      const holder = holders.acting(holderId);
      if (suspectSlots.length > config.maxChainBlocks)
        throw StatorError.invalid('suspect_slots', `A call names at most ${config.maxChainBlocks} slots.`);
      for (const id of leaseIds) holders.giveBack(holder, Number(id));
      if (suspectSlots.length > 0) {
        metrics.suspects(suspectSlots.length);
        await inspect(context, holder.layout, [...new Set(suspectSlots)]);
      }
      return create(ReleaseResponseSchema, {});
    },
  };
}
