import { toJson } from '@bufbuild/protobuf';
import { type ArenaStats, type StatsResponse, StatsResponseSchema } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { configure } from '#lib/service/configure.ts';
import { runInterruptible } from '../run-interruptible.ts';
import { formatBytes, formatTable } from '../ui/format.ts';
import { withKvbm } from './connect.ts';
import { kvbmStatsSettings } from './settings.ts';
import { nameOfTier } from './tier-names.ts';

export async function kvbmStats(argv: readonly string[]): Promise<void> {
  const summary = 'Shows how full the tiers of a block manager are, who is attached, and what happened so far.';
  const settings = configure({ name: 'kvbm stats', settings: kvbmStatsSettings, argv, summary })?.settings;
  if (settings === undefined) return;
  await runInterruptible('kvbm stats', (signal) =>
    withKvbm(settings, async (client) => {
      const stats = await client.stats({}, { signal });
      process.stdout.write(
        settings.json ? `${JSON.stringify(toJson(StatsResponseSchema, stats), null, 2)}\n` : textOf(stats),
      );
    }),
  );
}

function textOf({ epoch, arenas, holders, counters, degraded }: StatsResponse): string {
  const parts = [`Life ${epoch}\n`];
  const head = ['tier', 'layout', 'slots', 'memory', 'registered', 'evictable', 'free', 'partial', 'doomed', 'revoked'];
  parts.push(arenas.length === 0 ? 'No worker has written blocks yet.\n' : formatTable([head, ...arenas.map(rowOf)]));
  if (holders.length > 0) {
    const rows = holders.map(({ holderId, name, instanceId, leases, lost }) => [
      ...[String(holderId), name, instanceId.toString(16), String(leases), lost ? 'lost' : 'attached'],
    ]);
    parts.push(formatTable([['holder', 'name', 'instance', 'leases', 'state'], ...rows]));
  }
  for (const [tier, reason] of Object.entries(degraded)) parts.push(`Tier ${tier} does not work: ${reason}\n`);
  const counted = Object.entries(counters).filter(([, count]) => count > 0n);
  if (counted.length > 0) parts.push(formatTable(counted.toSorted().map(([name, count]) => [name, String(count)])));
  return parts.join('\n');
}

function rowOf(arena: ArenaStats): string[] {
  const { tier, layout, blocks, slotBytes, registered, evictable, free, partial, doomed, revoked } = arena;
  const memory = formatBytes(Number(blocks * slotBytes));
  const counts = [registered, evictable, free, partial, doomed, revoked].map(String);
  return [nameOfTier(tier), layout?.format ?? '', String(blocks), memory, ...counts];
}
