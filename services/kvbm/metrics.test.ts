import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'chai';
import { BlockTier } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { TestKvbm } from './kvbm.test-support.ts';

/** Metrics with the names of their labels, as the document writes them. */
async function documented(): Promise<string[]> {
  const page = await readFile(new URL('../../docs/kvbm-metrics.md', import.meta.url), 'utf8');
  return [...page.matchAll(/^\| `(stator_kvbm_[\w{},]+)`/gm)].map(([, name = '']) => name);
}

describe('metrics of the block manager', () => {
  let kvbm: TestKvbm;

  afterEach(() => kvbm.close());

  it('are the ones that are documented, labels included', async () => {
    kvbm = new TestKvbm({ peers: true, peerTransfer: 'tcp' });
    const diskDir = join(kvbm.folder, 'disk');
    await kvbm.start({ diskDir, diskMib: 16, objectStore: `file:${join(kvbm.folder, 'objects')}` });
    const exposed = kvbm.registry.getMetricsAsArray().flatMap((metric) => {
      const { labelNames = [] } = metric as { labelNames?: readonly string[] };
      const labels = labelNames.length === 0 ? '' : `{${labelNames.join(',')}}`;
      return metric.name.startsWith('stator_kvbm_') ? `${metric.name}${labels}` : [];
    });
    const names = await documented();
    expect(exposed.toSorted()).to.deep.equal(names.toSorted());
    const page = await kvbm.metrics();
    for (const name of names) expect(page).to.match(new RegExp(`^# TYPE ${name.replace(/\{.*/, '')} `, 'm'));
  });

  it('follow blocks from their reservation to their end', async () => {
    kvbm = await new TestKvbm().start();
    const worker = await kvbm.attach();
    const salted = await worker.open('tenant');
    await worker.store('a', 0, 4);
    await worker.store('s', 0, 1, { namespace: salted });
    await worker.match('a', 6);
    const read = await worker.read('a', 3);
    const page = await kvbm.metrics();
    for (const line of [
      'slots{tier="host",state="registered"} 5',
      'slots{tier="host",state="evictable"} 2',
      'found_blocks_total{tier="host"} 4',
      'onboarded_blocks_total{source="host"} 3',
      'onboarded_bytes_total{source="host"} 30000',
      'onboards_total{end="complete"} 1',
      'reserved_blocks_total 5',
      'registered_blocks_total{tier="host"} 5',
      'holders 1',
      'namespaces 2',
      'layouts 1',
    ])
      expect(page).to.include(`stator_kvbm_${line}\n`);
    await worker.release(read.leaseIds);
    await kvbm.client.evict({ tier: BlockTier.HOST, count: 1n });
    await kvbm.client.purge({ cacheSalt: 'tenant' });
    const after = await kvbm.metrics();
    for (const line of ['evicted_blocks_total{tier="host"} 1', 'purged_blocks_total 1', 'leases 0'])
      expect(after).to.include(`stator_kvbm_${line}\n`);
    expect(after).to.match(/stator_kvbm_slots\{tier="host",state="registered"\} 3\n/);
    const { counters } = await kvbm.client.stats({});
    expect(counters).to.include({ 'evicted_blocks_total{host}': 1n, 'onboards_total{complete}': 1n });
  });
});
