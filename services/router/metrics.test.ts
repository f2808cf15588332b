import { readFile } from 'node:fs/promises';
import { expect } from 'chai';
import { packHashes } from '#core/tokens/packed-hashes.ts';
import { Tier } from '#gen/stator/events/v1/events_pb.ts';
import { systemClock } from './clock.ts';
import { codeOf, routeRequest, TestRouters } from './router.test-support.ts';

const docs = ['routing-metrics.md', 'router-replicas.md'];

/** Metrics with the names of their labels, as documents write them. */
async function documented(): Promise<string[]> {
  const pages = await Promise.all(docs.map((name) => readFile(new URL(`../../docs/${name}`, import.meta.url), 'utf8')));
  return pages.flatMap((page) => [...page.matchAll(/^\| `(stator_router_[\w{},]+)`/gm)].map(([, name = '']) => name));
}

describe('metrics of the router', () => {
  const routers = new TestRouters();
  const { signal } = new AbortController();

  afterEach(() => routers.close());

  it('are the ones that are documented, labels included', async () => {
    const { telemetry, metrics } = await routers.start([{ id: 1n }], { replicaSync: true });
    const exposed = telemetry.metrics.getMetricsAsArray().flatMap((metric) => {
      const { labelNames = [] } = metric as { labelNames?: readonly string[] };
      const labels = labelNames.length === 0 ? '' : `{${labelNames.join(',')}}`;
      return metric.name.startsWith('stator_router_') ? `${metric.name}${labels}` : [];
    });
    const names = await documented();
    expect(exposed.toSorted()).to.deep.equal(names.toSorted());
    const page = await metrics();
    for (const name of names) expect(page).to.match(new RegExp(`^# TYPE ${name.replace(/\{.*/, '')} `, 'm'));
  });

  it('follow a request from its prompt to its end', async () => {
    let now = 1000;
    const { router, index, metrics } = await routers.start([{ id: 1n }], {}, { ...systemClock, nowMs: () => now });
    const hashes = packHashes(BigUint64Array.of(1n, 2n, 3n, 4n));
    const stored = { tier: Tier.EXTERNAL, sequenceHashes: hashes.subarray(0, 24) };
    await index.apply({ model: 'm', instanceId: 0n, events: [{ change: { case: 'stored', value: stored } }] });
    const request = routeRequest({ promptTokens: 64, sequenceHashes: hashes });
    await router.client.route(request, signal);
    now += 250;
    router.client.prefillDone(request.requestId);
    now += 150;
    router.client.prefillDone(request.requestId);
    router.client.outputBlock(request.requestId, 16);
    router.client.finish(request.requestId, { workerFailed: false });
    const page = await metrics();
    for (const line of [
      'time_to_first_token_seconds_sum 0.25',
      'time_to_first_token_seconds_count 1',
      'inter_token_latency_seconds_sum 0.01',
      'input_tokens_sum 64',
      'output_tokens_sum 16',
      'shared_cache_hit_rate_sum 0.75',
      'shared_cache_beyond_blocks_sum 3',
      'stage_seconds_count{stage="match"} 1',
      'stage_seconds_count{stage="weigh"} 1',
      'stage_seconds_count{stage="book"} 1',
    ])
      expect(page.split('\n')).to.include(`stator_router_${line}`);
  });

  it('say why the queue refuses', async () => {
    const { router, metrics } = await routers.start([{ id: 1n }], { queueThreshold: 1, maxQueuedRequests: 1 });
    await router.client.route(routeRequest(), signal);
    const soon = router.client.route(routeRequest({ queueTimeoutMs: 500 }), signal);
    expect(await codeOf(router.client.route(routeRequest(), signal))).to.equal('overloaded');
    expect(await codeOf(soon)).to.equal('queue_timeout');
    const page = await metrics();
    for (const because of ['all_requests', 'timeout'])
      expect(page).to.include(`stator_router_queue_refusals_total{class="default",because="${because}"} 1`);
  });
});
