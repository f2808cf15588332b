import type { TestKvbm } from '#services/kvbm/kvbm.test-support.ts';
import { until } from '#tests/support/until.ts';

/** Sum of a metric's values over the lines that hold the labels. */
export async function metricOf(kvbm: Pick<TestKvbm, 'metrics'>, name: string, labels = ''): Promise<number> {
  const lines = (await kvbm.metrics()).split('\n');
  const wanted = lines.filter((line) => line.startsWith(`stator_kvbm_${name}`) && line.includes(labels));
  return wanted.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

/** Waits until so many blocks were written to a tier. */
export async function stored(kvbm: TestKvbm, tier: 'disk' | 'object', blocks: number): Promise<void> {
  await until(`${blocks} blocks are in ${tier}`, async () => {
    return (await metricOf(kvbm, 'offload_blocks_total', `tier="${tier}",outcome="stored"`)) >= blocks;
  });
}

/** Waits until nobody holds a lease, writes into a slot or loads a block. */
export async function heldNothing(kvbm: TestKvbm): Promise<void> {
  await until(
    'nothing is held',
    async () => {
      const { arenas, holders } = await kvbm.client.stats({});
      const leases = holders.reduce((sum, holder) => sum + holder.leases, 0);
      const isIdle = arenas.every(({ partial, doomed, revoked }) => partial + doomed + revoked === 0n);
      return leases === 0 && isIdle && (await metricOf(kvbm, 'load_blocks{')) === 0;
    },
    20_000,
  );
}
