import { expect } from 'chai';
import { codeOf, eventually, routeRequest, TestRouters } from './router.test-support.ts';

describe('sessions of the router', () => {
  const routers = new TestRouters();
  const { signal } = new AbortController();
  const workers = [{ id: 1n }, { id: 2n }];

  afterEach(() => routers.close());

  it('return to their worker although it is the dearer one', async () => {
    const { router } = await routers.start(workers);
    const first = await router.client.route(routeRequest({ sessionId: 's' }), signal);
    for (let i = 0; i < 3; i++) {
      const next = await router.client.route(routeRequest({ sessionId: 's' }), signal);
      expect(next).to.include({ instanceId: first.instanceId, bySession: true });
    }
  });

  it('are explained as they would be routed, without being bound by that', async () => {
    const { router } = await routers.start(workers);
    const asked = await router.client.explain(routeRequest({ sessionId: 's' }), signal);
    expect(asked.decision).to.include({ bySession: false });
    const first = await router.client.route(routeRequest({ sessionId: 's' }), signal);
    expect(first, 'asking bound nothing').to.include({ bySession: false });
    const { decision, costs } = await router.client.explain(routeRequest({ sessionId: 's' }), signal);
    expect(decision).to.include({ instanceId: first.instanceId, bySession: true });
    const other = costs.find(({ instanceId }) => instanceId !== first.instanceId);
    expect(other?.excludedBecause).to.equal('the session is bound to another worker');
    const elsewhere = await router.client.explain(routeRequest({ sessionId: 't' }), signal);
    expect(elsewhere.decision).to.include({ bySession: false });
    expect(elsewhere.decision?.instanceId).not.to.equal(first.instanceId);
  });

  it('are forgotten with the request that says it is their last', async () => {
    const { router } = await routers.start(workers);
    const last = routeRequest({ sessionId: 's', sessionFinal: true });
    await router.client.route(routeRequest({ sessionId: 's' }), signal);
    expect(await router.client.route(last, signal)).to.include({ bySession: true });
    router.client.finish(last.requestId, { workerFailed: false });
    expect(await router.client.route(routeRequest({ sessionId: 's' }), signal)).to.include({ bySession: false });
  });

  it("begin on their parents' workers where that is wanted, and are then their own", async () => {
    const { router } = await routers.start(workers, { sessionChildren: 'parent' });
    const parent = await router.client.route(routeRequest({ sessionId: 'p' }), signal);
    const child = { sessionId: 'c', parentSessionId: 'p' };
    const first = await router.client.route(routeRequest(child), signal);
    expect(first).to.include({ instanceId: parent.instanceId, bySession: true });
    expect(await router.client.route(routeRequest({ sessionId: 'c' }), signal)).to.include({ bySession: true });
    const orphan = await router.client.route(routeRequest({ sessionId: 'd', parentSessionId: 'none' }), signal);
    expect(orphan).to.include({ bySession: false });
    const long = routeRequest({ sessionId: 'e', parentSessionId: 'x'.repeat(257) });
    expect(await codeOf(router.client.route(long, signal))).to.equal('invalid_argument');
  });

  it('begin anywhere where their parents are not asked for', async () => {
    const { router } = await routers.start(workers);
    await router.client.route(routeRequest({ sessionId: 'p' }), signal);
    const child = await router.client.route(routeRequest({ sessionId: 'c', parentSessionId: 'p' }), signal);
    expect(child).to.include({ bySession: false });
  });

  it('move at once where soft and their worker has requests waiting, and stay where they moved', async () => {
    const { router } = await routers.start(workers, { queueThreshold: 1 });
    const first = routeRequest({ sessionId: 's' });
    const { instanceId } = await router.client.route(first, signal);
    const second = routeRequest({ sessionId: 's' });
    const moved = await router.client.route(second, signal);
    expect(moved.instanceId).not.to.equal(instanceId);
    expect(moved).to.include({ bySession: false, queueUs: 0 });
    for (const { requestId } of [first, second]) router.client.finish(requestId, { workerFailed: false });
    const third = await router.client.route(routeRequest({ sessionId: 's' }), signal);
    expect(third).to.include({ instanceId: moved.instanceId, bySession: true });
  });

  it('move where soft and their worker is over a busy threshold', async () => {
    const { router } = await routers.start(workers, { busyPrefillTokens: 30 });
    const first = await router.client.route(routeRequest({ sessionId: 's' }), signal);
    const second = await router.client.route(routeRequest({ sessionId: 's' }), signal);
    expect(second.instanceId).not.to.equal(first.instanceId);
    expect(await codeOf(router.client.route(routeRequest({ sessionId: 's' }), signal))).to.equal('overloaded');
  });

  it('wait where soft only while every worker is busy, then go to the first that is free', async () => {
    const { router, client } = await routers.start(workers, { queueThreshold: 1 });
    const own = routeRequest({ sessionId: 's' });
    await router.client.route(own, signal);
    const other = routeRequest();
    const elsewhere = await router.client.route(other, signal);
    const waiting = router.client.route(routeRequest({ sessionId: 's' }), signal);
    await eventually('it waits', async () => (await client.getLoads({})).queuedRequests === 1);
    router.client.finish(other.requestId, { workerFailed: false });
    expect(await waiting).to.include({ instanceId: elsewhere.instanceId, bySession: false });
  });

  it('wait where hard for their own worker while another one is free', async () => {
    const { router, client } = await routers.start(workers, { queueThreshold: 1, sessionAffinity: 'hard' });
    const first = routeRequest({ sessionId: 's' });
    const { instanceId } = await router.client.route(first, signal);
    const waiting = router.client.route(routeRequest({ sessionId: 's' }), signal);
    await eventually('it waits', async () => (await client.getLoads({})).queuedRequests === 1);
    router.client.finish(first.requestId, { workerFailed: false });
    expect(await waiting).to.include({ instanceId, bySession: true });
  });

  it('have an identifier of bounded length, which is said before anything waits', async () => {
    const { router } = await routers.start([{ id: 1n }], { queueThreshold: 1 });
    await router.client.route(routeRequest(), signal);
    const tooLong = routeRequest({ sessionId: 'x'.repeat(257) });
    expect(await codeOf(router.client.route(tooLong, signal))).to.equal('invalid_argument');
  });
});
