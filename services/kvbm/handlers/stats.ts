import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import {
  ArenaStatsSchema,
  BlockLayoutSchema,
  HolderStatsSchema,
  type KvBlockService,
  StatsResponseSchema,
} from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import type { KvbmContext } from '../context.ts';
import { degradations } from '../health.ts';
import { wireTiers } from '../names.ts';

export function stats(context: KvbmContext): Partial<ServiceImpl<typeof KvBlockService>> {
  return {
    async stats() {
      const { epoch, manager, host, holders, metrics } = context;
      const arenas = manager.use().map(({ tier, arena, blocks, blockBytes, ...use }) => {
        const { format, blockTokens, dtype, slotBytes } = host.layoutOf(arena);
        const layout = create(BlockLayoutSchema, { format, blockTokens, dtype, blockBytes: BigInt(blockBytes) });
        const counts = Object.fromEntries(Object.entries(use).map(([name, count]) => [name, BigInt(count)]));
        return create(ArenaStatsSchema, {
          tier: wireTiers[tier],
          layout,
          blocks: BigInt(blocks),
          slotBytes: BigInt(slotBytes),
          ...counts,
        });
      });
      const attached = [...holders.all()].map(({ id, instanceId, name, leases, lost }) =>
        create(HolderStatsSchema, { holderId: BigInt(id), instanceId, name, leases: leases.size, lost }),
      );
      const counters = Object.fromEntries(
        Object.entries(await metrics.totals()).map(([name, count]) => [name, BigInt(count)]),
      );
      return create(StatsResponseSchema, {
        epoch,
        arenas,
        holders: attached,
        counters,
        degraded: degradations(context),
      });
    },
  };
}
