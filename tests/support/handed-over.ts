import type { Cluster } from './cluster.ts';
import { type Sample, sumOf } from './metrics-text.ts';
import { scrape } from './scrape.ts';
import { until } from './until.ts';

/** What workers of a model that is served apart must come back to once nothing runs. */
const workerLevels = [
  'stator_worker_running_sequences',
  'stator_worker_handoffs_staged',
  'stator_worker_handoff_staged_bytes',
  'stator_worker_handoff_pulling_bytes',
  'stator_worker_kv_fetching',
  'stator_worker_kv_holding',
];
const gatewayLevels = ['stator_gateway_handoffs', 'stator_gateway_inflight_requests'];
const routerLevels = ['stator_router_active_requests'];

/** Metrics of every member of a cluster that still answers, together. */
export async function scrapeAll(cluster: Cluster): Promise<Sample[]> {
  const pages = await Promise.all(cluster.members.map(({ address }) => scrape(address).catch(() => [])));
  return pages.flat();
}

/** Resolves once nothing is running, staged, held or fetched anywhere. */
export async function comesToRest(cluster: Cluster, timeoutMs = 30_000): Promise<void> {
  await until(
    'everything is given back',
    async () => {
      const samples = await scrapeAll(cluster);
      const left = [...workerLevels, ...gatewayLevels, ...routerLevels].filter((name) => sumOf(samples, name) !== 0);
      if (left.length > 0) throw new Error(`not zero: ${left.join(', ')}`);
      return true;
    },
    timeoutMs,
  );
}
