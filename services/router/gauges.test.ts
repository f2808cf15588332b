import { expect } from 'chai';
import { packHashes } from '#core/tokens/packed-hashes.ts';
import { Tier } from '#gen/stator/events/v1/events_pb.ts';
import { routeRequest, TestRouters } from './router.test-support.ts';

describe('levels of the router', () => {
  const routers = new TestRouters();

  afterEach(() => routers.close());

  it('are what they are at the moment of the scrape', async () => {
    const { router, index, metrics } = await routers.start([{ id: 0xan }], {
      queueThreshold: 1,
      sessionTtlSeconds: 1,
      kvEventPulseMs: 60_000,
    });
    const { signal } = new AbortController();
    const first = routeRequest({ sessionId: 's' });
    await router.client.route(first, signal);
    const second = routeRequest();
    const waiting = router.client.route(second, signal);
    const stored = { tier: Tier.DEVICE, sequenceHashes: packHashes(BigUint64Array.of(1n, 2n)) };
    const change = { case: 'stored' as const, value: stored };
    await index.apply({ model: 'm', instanceId: 0xbn, events: [{ change }] });

    const busy = await metrics();
    const rank = '\\{worker="a",data_parallel_rank="0"\\}';
    for (const line of [
      'reservations 1',
      'session_bindings 1',
      `active_requests${rank} 1`,
      `active_prefill_tokens${rank} 40`,
      `active_blocks${rank} 3`,
      'queued_requests\\{model="m",class="default"\\} 1',
      'queued_prompt_tokens\\{model="m",class="default"\\} 40',
      'kv_index_blocks 2',
      'kv_index_slots 1',
    ])
      expect(busy).to.match(new RegExp(`^stator_router_${line}$`, 'm'));

    router.client.finish(first.requestId, { workerFailed: false });
    await waiting;
    router.client.finish(second.requestId, { workerFailed: false });
    const idle = await metrics();
    for (const line of ['reservations 0', `active_requests${rank} 0`, `active_blocks${rank} 0`])
      expect(idle).to.match(new RegExp(`^stator_router_${line}$`, 'm'));
    expect(idle).not.to.match(/^stator_router_queued_requests\{/m);
  });
});
