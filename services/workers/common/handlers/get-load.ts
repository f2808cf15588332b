import { clone } from '@bufbuild/protobuf';
import { type RankLoad, RankLoadSchema } from '#gen/stator/events/v1/events_pb.ts';
import type { ContextOf, EngineServiceImpl } from './handler.ts';

export function getLoad(contextOf: ContextOf): Pick<EngineServiceImpl, 'getLoad'> {
  return {
    async getLoad(request) {
      const { models, state } = contextOf();
      const hosts = request.model === '' ? models.hosts : [models.find(request.model)];
      const ranks = sumByRank(hosts.flatMap((host) => host.load()));
      return { load: { instanceId: state.instanceId, timeUnixMs: BigInt(Date.now()), ranks } };
    },
  };
}

function sumByRank(loads: readonly RankLoad[]): RankLoad[] {
  const ranks = new Map<number, RankLoad>();
  for (const load of loads) {
    const sum = ranks.get(load.dataParallelRank);
    if (sum === undefined) {
      ranks.set(load.dataParallelRank, clone(RankLoadSchema, load));
      continue;
    }
    sum.runningSequences += load.runningSequences;
    sum.queuedSequences += load.queuedSequences;
    sum.activeKvBlocks += load.activeKvBlocks;
    sum.cachedKvBlocks += load.cachedKvBlocks;
    sum.totalKvBlocks += load.totalKvBlocks;
    sum.pendingPrefillTokens += load.pendingPrefillTokens;
  }
  return [...ranks.values()];
}
