import { expect } from 'chai';
import { packHashes } from '#core/tokens/packed-hashes.ts';
import { Tier } from '#gen/stator/events/v1/events_pb.ts';
import { RouterMode, type WorkerCost } from '#gen/stator/router/v1/router_pb.ts';
import { codeOf, routeRequest, type TestRouter, TestRouters } from './router.test-support.ts';

const prompt = packHashes(BigUint64Array.of(11n, 12n, 13n, 14n));

describe('what the router says of a decision', () => {
  const routers = new TestRouters();
  const { signal } = new AbortController();

  afterEach(() => routers.close());

  async function store({ index }: TestRouter, instanceId: bigint, tier: Tier, from: number, to: number): Promise<void> {
    const sequenceHashes = prompt.subarray(from * 8, to * 8);
    const parent = from === 0 ? {} : { parentSequenceHash: BigInt(10 + from) };
    const change = { case: 'stored' as const, value: { tier, sequenceHashes, ...parent } };
    await index.apply({ model: 'm', instanceId, events: [{ change }] });
  }

  const asked = (extra: Parameters<typeof routeRequest>[0] = {}) =>
    routeRequest({ promptTokens: 70, sequenceHashes: prompt, ...extra });

  it('is every term of every worker, of which the cost can be computed again', async () => {
    const router = await routers.start([{ id: 1n }, { id: 2n }, { id: 3n, card: { taints: ['slow'] } }], {
      overlapCredit: 0.9,
      prefillLoadScale: 2,
      activeRequestWeight: 3,
    });
    await store(router, 1n, Tier.DEVICE, 0, 2);
    await store(router, 1n, Tier.HOST, 2, 3);
    await store(router, 0n, Tier.EXTERNAL, 0, 4);
    await router.router.client.route(routeRequest({ constraints: { instanceId: 2n } }), signal);
    const preferredTaints = { slow: -1 };
    const { decision, costs } = await router.client.explain({ route: asked({ constraints: { preferredTaints } }) });
    expect(costs.map(({ instanceId }) => instanceId)).to.deep.equal([1n, 2n, 3n]);
    for (const { cost, terms } of costs) {
      const t = (name: string): number => terms[name] ?? Number.NaN;
      const credit =
        t('overlap_credit') * t('credit_decay') * t('device_blocks') +
        t('host_cache_hit_weight') * t('host_blocks') +
        t('disk_cache_hit_weight') * (t('disk_blocks') + t('external_blocks')) +
        t('shared_cache_multiplier') * t('shared_blocks');
      const raw = (t('active_prefill_tokens') + t('prompt_tokens')) / t('block_size');
      const prefill = t('prefill_load_scale') * Math.max(raw - credit, 0);
      const decode = t('active_blocks') + t('new_blocks');
      const requests = t('decode_active_request_weight') * t('active_requests');
      expect(cost).to.be.closeTo((prefill + decode + requests) * t('preference'), 1e-9);
    }
    const [one, two, three] = costs;
    expect(one).to.include({ deviceBlocks: 2, hostBlocks: 1, sharedBlocks: 1, excludedBecause: '' });
    expect(one?.terms).to.include({ device_blocks: 2, host_blocks: 1, shared_blocks: 1, prefill_load_scale: 2 });
    expect(two?.terms).to.include({ active_requests: 1, active_prefill_tokens: 40, shared_blocks: 4 });
    expect(three?.terms['preference']).to.be.closeTo(Math.exp(Math.tanh(1)), 1e-9);
    expect(decision).to.include({ instanceId: 1n, deviceBlocks: 2, hostBlocks: 1, sharedBlocks: 1, promptBlocks: 4 });
  });

  it('is the same with the decision where the request asks for it, and reserves only there', async () => {
    const router = await routers.start([{ id: 1n }, { id: 2n }]);
    await store(router, 2n, Tier.DEVICE, 0, 4);
    const explained = await router.client.explain({ route: asked() });
    expect(await router.activeRequests()).to.equal(0);
    const placed = await router.router.client.route(asked({ explain: true }), signal);
    expect(placed.instanceId).to.equal(2n);
    expect(placed.costs.map(termsOf)).to.deep.equal(explained.costs.map(termsOf));
    expect((await router.router.client.route(asked(), signal)).costs).to.deep.equal([]);
  });

  it('has terms in every mode, and the cheapest is what Route chooses', async () => {
    const router = await routers.start([{ id: 1n }, { id: 2n }]);
    await store(router, 2n, Tier.DEVICE, 0, 4);
    const modes = [RouterMode.KV, RouterMode.LEAST_LOADED, RouterMode.DEVICE_AWARE_WEIGHTED, RouterMode.TOKEN_BALANCE];
    await router.router.client.route(asked({ constraints: { instanceId: 1n } }), signal);
    for (const mode of modes) {
      const { decision, costs } = await router.client.explain({ route: asked({ mode }) });
      expect(decision?.instanceId, `mode ${mode}`).to.equal(2n);
      for (const { terms } of costs) expect(Object.keys(terms), `mode ${mode}`).not.to.have.lengthOf(0);
      const request = asked({ mode });
      expect((await router.router.client.route(request, signal)).instanceId).to.equal(2n);
      router.router.client.finish(request.requestId, { workerFailed: false });
    }
  });

  it('reckons with what devices can do, as their workers tell', async () => {
    const router = await routers.start([{ id: 1n, card: { deviceWeight: 8 } }, { id: 2n }], {
      mode: 'device-aware-weighted',
    });
    const counts = new Map<bigint, number>();
    for (let i = 0; i < 18; i++) {
      const { instanceId } = await router.router.client.route(routeRequest(), signal);
      counts.set(instanceId, (counts.get(instanceId) ?? 0) + 1);
    }
    expect([counts.get(1n), counts.get(2n)]).to.deep.equal([16, 2]);
    const { costs } = await router.client.explain({ route: routeRequest() });
    expect(costs.map(({ terms }) => terms['device_weight'])).to.deep.equal([8, 1]);
  });

  it('knows a shared cache by its own events, apart from workers', async () => {
    const router = await routers.start([{ id: 1n }]);
    await store(router, 0n, Tier.EXTERNAL, 0, 3);
    const found = await router.index.match({ model: 'm', sequenceHashes: prompt });
    expect(found).to.include({ sharedBlocks: 3, promptBlocks: 4 });
    expect(found.workers).to.deep.equal([]);
    const copy = await routers.start([{ id: 1n }]);
    for await (const { events } of router.index.dump({ model: 'm' })) await copy.index.apply(events ?? {});
    expect(await copy.index.match({ model: 'm', sequenceHashes: prompt })).to.include({ sharedBlocks: 3 });
    const change = { case: 'cleared' as const, value: {} };
    const ranked = router.index.apply({ model: 'm', instanceId: 0n, events: [{ dataParallelRank: 1, change }] });
    expect(await codeOf(ranked)).to.equal('invalid_argument');
    await router.index.apply({ model: 'm', instanceId: 0n, events: [{ change }] });
    expect(await router.index.match({ model: 'm', sequenceHashes: prompt })).to.include({ sharedBlocks: 0 });
  });
});

function termsOf({ instanceId, cost, terms }: WorkerCost) {
  return { instanceId, cost, terms };
}
