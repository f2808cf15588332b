import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import { GetLoadsResponseSchema, type RouterService, WorkerLoadSchema } from '#gen/stator/router/v1/router_pb.ts';
import type { RouterContext } from '../context.ts';

export function getLoads({ workers, active }: RouterContext): Partial<ServiceImpl<typeof RouterService>> {
  return {
    getLoads({ model }) {
      const loads = workers.instances().flatMap(({ instanceId, cards }) => {
        const served = cards.filter(({ name }) => model === '' || name === model);
        if (served.length === 0) return [];
        const ranks = Math.max(1, ...served.map(({ parallelism }) => parallelism?.data ?? 1));
        return Array.from({ length: ranks }, (_, dataParallelRank) => {
          const totals = active.totals(instanceId, dataParallelRank);
          const reported = workers.reported(instanceId, dataParallelRank);
          return create(WorkerLoadSchema, {
            instanceId,
            dataParallelRank,
            activeRequests: totals.activeRequests,
            activePrefillTokens: BigInt(totals.activePrefillTokens),
            activeBlocks: BigInt(totals.activeBlocks),
            ...(reported === undefined ? {} : { reported }),
          });
        });
      });
      return create(GetLoadsResponseSchema, { loads });
    },
  };
}
