import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import { GetLoadsResponseSchema, type RouterService, WorkerLoadSchema } from '#gen/stator/router/v1/router_pb.ts';
import type { RouterContext } from '../context.ts';
import { rankNumbers } from '../worker-ranks.ts';

export function getLoads({
  workers,
  active,
  admission,
  placer,
  nowMs,
}: RouterContext): Partial<ServiceImpl<typeof RouterService>> {
  return {
    getLoads({ model, potential }) {
      const costs = potential === undefined ? [] : placer.explain(potential).costs;
      const loads = workers.instances().flatMap(({ instanceId, cards }) => {
        const served = cards.filter(({ name }) => model === '' || name === model);
        if (served.length === 0) return [];
        return [...new Set(served.flatMap(rankNumbers))].map((dataParallelRank) => {
          const totals = active.load(workers.slots.slotOf(instanceId, dataParallelRank), nowMs());
          const cost = costs.find((of) => of.instanceId === instanceId && of.dataParallelRank === dataParallelRank);
          const newBlocks = cost?.terms['new_blocks'];
          const reported = workers.reported(instanceId, dataParallelRank);
          return create(WorkerLoadSchema, {
            instanceId,
            dataParallelRank,
            activeRequests: totals.activeRequests,
            activePrefillTokens: BigInt(totals.activePrefillTokens),
            activeBlocks: BigInt(Math.round(totals.activeBlocks)),
            ...(cost === undefined
              ? {}
              : { potentialPrefillTokens: BigInt(totals.activePrefillTokens + cost.prefillTokens) }),
            ...(newBlocks === undefined
              ? {}
              : { potentialBlocks: BigInt(Math.round(totals.activeBlocks + newBlocks)) }),
            ...(reported === undefined ? {} : { reported }),
          });
        });
      });
      return create(GetLoadsResponseSchema, {
        loads,
        queuedRequests: admission.size,
        queuedPromptTokens: BigInt(admission.promptTokens),
      });
    },
  };
}
