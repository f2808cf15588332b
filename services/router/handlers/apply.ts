import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import { ApplyResponseSchema, type KvIndexService } from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { RouterContext } from '../context.ts';
import { sharedCache } from '../shared-cache.ts';

export function apply({ blocks }: RouterContext): Partial<ServiceImpl<typeof KvIndexService>> {
  return {
    apply({ model, instanceId, events }) {
      if (model === '') throw StatorError.invalid('model', 'The model is not named.');
      const blockSize = blocks.blockSizeOf(model) ?? 0;
      let applied = 0;
      let unmatched = 0;
      for (const [at, event] of events.entries()) {
        if (instanceId === sharedCache && event.dataParallelRank !== 0)
          throw StatorError.invalid(`events[${at}].data_parallel_rank`, 'A cache that all workers share has no ranks.');
        const source = { model, instanceId, dataParallelRank: event.dataParallelRank, blockSize };
        blocks.pushed.open(source);
        const counts = blocks.pushed.apply(source, [event]);
        applied += counts.applied;
        unmatched += counts.unmatched;
      }
      return create(ApplyResponseSchema, { applied: BigInt(applied), unmatched: BigInt(unmatched) });
    },
  };
}
