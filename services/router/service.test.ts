import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import {
  RouterMode,
  RoutingConstraintsSchema,
  SessionRequestSchema,
  type UpdateReservationRequestSchema,
} from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { codeOf, eventually, routeRequest as request, TestRouters, workerInstance } from './router.test-support.ts';

describe('router', () => {
  const routers = new TestRouters();
  const setUp = routers.start.bind(routers);

  afterEach(() => routers.close());

  it('spreads requests over workers by what is in flight', async () => {
    const { client, activeRequests } = await setUp([{ id: 1n }, { id: 2n }]);
    const counts = new Map<bigint, number>();
    for (let i = 0; i < 10; i++) {
      const { decision } = await client.route(request());
      const worker = decision?.instanceId ?? 0n;
      counts.set(worker, (counts.get(worker) ?? 0) + 1);
    }
    expect([counts.get(1n), counts.get(2n)]).to.deep.equal([5, 5]);
    expect(await activeRequests()).to.equal(10);
  });

  it('frees everything of a session that ends', async () => {
    const { client, activeRequests } = await setUp([{ id: 1n }]);
    const cut = new AbortController();
    async function* messages() {
      yield create(SessionRequestSchema, { message: { case: 'hello', value: { gatewayId: 'g' } } });
      for (let i = 0; i < 5; i++) yield create(SessionRequestSchema, { message: { case: 'route', value: request() } });
      await new Promise((resolve) => cut.signal.addEventListener('abort', resolve, { once: true }));
    }
    const responses = client.session(messages(), { signal: cut.signal })[Symbol.asyncIterator]();
    const welcome = await responses.next();
    expect(welcome.value?.message.case).to.equal('welcome');
    for (let i = 0; i < 5; i++) await responses.next();
    expect(await activeRequests()).to.equal(5);
    cut.abort();
    await eventually('reservations are freed', async () => (await activeRequests()) === 0);
  });

  it('frees what was placed on a worker that withdraws', async () => {
    const { client, registrations, activeRequests } = await setUp([{ id: 1n }]);
    await client.route(request());
    await registrations.get(1n)?.withdraw();
    await eventually('the worker is gone', async () => (await client.listWorkers({})).workers.length === 0);
    expect(await activeRequests()).to.equal(0);
    expect(await codeOf(client.route(request()))).to.equal('model_not_found');
  });

  it('counts what workers report of themselves', async () => {
    const { client } = await setUp([{ id: 1n, running: 50 }, { id: 2n }]);
    await eventually('load is reported', async () => {
      const { loads } = await client.getLoads({});
      return loads.every(({ reported }) => reported !== undefined);
    });
    for (let i = 0; i < 5; i++) {
      const { decision } = await client.route(request({ mode: RouterMode.LEAST_LOADED }));
      expect(decision?.instanceId).to.equal(2n);
    }
  });

  it('honours pins, exclusions and taints, and says why none is left', async () => {
    const { client } = await setUp([{ id: 1n, card: { taints: ['zone=a'] } }, { id: 2n }]);
    const route = (constraints: MessageInitShape<typeof RoutingConstraintsSchema>) =>
      client.route(request({ constraints: create(RoutingConstraintsSchema, constraints) }));
    expect((await route({ instanceId: 2n })).decision?.instanceId).to.equal(2n);
    expect((await route({ excludedInstanceIds: [1n] })).decision?.instanceId).to.equal(2n);
    expect((await route({ requiredTaints: ['zone=a'] })).decision?.instanceId).to.equal(1n);
    expect(await codeOf(route({ requiredTaints: ['zone=z'] }))).to.equal('worker_unavailable');
    expect(await codeOf(route({ instanceId: 77n }))).to.equal('not_found');
    expect(await codeOf(client.route(request({ mode: RouterMode.DIRECT })))).to.equal('invalid_argument');
    expect(await codeOf(client.route(request({ mode: 99 as RouterMode })))).to.equal('unsupported');
    expect(await codeOf(client.route(request({ requestId: '' })))).to.equal('invalid_argument');
    expect(await codeOf(client.route(request({ model: 'other' })))).to.equal('model_not_found');
  });

  it('explains without reserving', async () => {
    const { client, activeRequests } = await setUp([{ id: 1n }, { id: 2n }]);
    const constraints = create(RoutingConstraintsSchema, { excludedInstanceIds: [1n] });
    const { decision, costs } = await client.explain({ route: request({ constraints }) });
    expect(decision?.instanceId).to.equal(2n);
    expect(costs.map(({ excludedBecause }) => excludedBecause)).to.deep.equal(['the request excludes it', '']);
    expect(costs[1]?.terms).to.have.property('active_requests', 0);
    expect(await activeRequests()).to.equal(0);
  });

  it('answers a request that gives up its place in the queue', async () => {
    const { router, client } = await setUp([{ id: 1n }], { queueThreshold: 1 });
    const placed = request();
    await router.client.route(placed, new AbortController().signal);
    const caller = new AbortController();
    const waiting = codeOf(router.client.route(request(), caller.signal));
    expect((await client.getLoads({})).queuedRequests).to.equal(1);
    caller.abort();
    expect(await waiting).to.equal('cancelled');
    expect((await client.getLoads({})).queuedRequests).to.equal(0);
  });

  it('refuses as overloaded what thresholds forbid, and takes new thresholds at run time', async () => {
    const { router, client } = await setUp([{ id: 1n }]);
    const { signal } = new AbortController();
    const none = await router.client.thresholds('m', null, signal);
    expect(none.activePrefillTokens).to.equal(undefined);
    const set = await router.client.thresholds('m', { activePrefillTokens: 50n }, signal);
    expect(set.activePrefillTokens).to.equal(50n);
    expect((await client.setThresholds({ model: 'm' })).thresholds).to.deep.equal(set);
    expect(await codeOf(router.client.thresholds('absent', null, signal))).to.equal('model_not_found');
    await client.route(request());
    await client.route(request());
    expect(await codeOf(client.route(request()))).to.equal('overloaded');
    const bad = client.setThresholds({ model: 'm', thresholds: { activeDecodeBlocks: 7 } });
    expect(await codeOf(bad)).to.equal('invalid_argument');
    await client.setThresholds({ model: 'm', thresholds: {} });
    expect(await codeOf(client.route(request()))).to.equal('no error');
  });

  it('avoids a worker that failed a request, for a while', async () => {
    const { router, client } = await setUp([{ id: 1n }, { id: 2n }]);
    const first = request({ constraints: create(RoutingConstraintsSchema, { instanceId: 1n }) });
    await router.client.route(first, new AbortController().signal);
    router.client.finish(first.requestId, { workerFailed: true });
    for (let i = 0; i < 4; i++) expect((await client.route(request())).decision?.instanceId).to.equal(2n);
  });

  it('takes a worker that failed a request rather than none', async () => {
    const { router, client } = await setUp([{ id: 1n }]);
    const first = request();
    await router.client.route(first, new AbortController().signal);
    router.client.finish(first.requestId, { workerFailed: true });
    expect((await client.route(request())).decision?.instanceId).to.equal(1n);
  });

  it('does not send a request for an adapter to a worker without it', async () => {
    const { client } = await setUp([{ id: 1n }]);
    expect(await codeOf(client.route(request({ adapter: 'poet' })))).to.equal('worker_unavailable');
  });

  it('takes reservations back from a gateway that announces them again', async () => {
    const { client, activeRequests } = await setUp([{ id: 1n }]);
    const cut = new AbortController();
    async function* messages() {
      yield create(SessionRequestSchema, { message: { case: 'hello', value: { gatewayId: 'g' } } });
      const value = { route: request(), instanceId: 1n, prefillDone: true, outputTokens: 40 };
      yield create(SessionRequestSchema, { message: { case: 'reannounce', value } });
      await new Promise((resolve) => cut.signal.addEventListener('abort', resolve, { once: true }));
    }
    const responses = client.session(messages(), { signal: cut.signal })[Symbol.asyncIterator]();
    await responses.next();
    await eventually('the reservation is back', async () => (await activeRequests()) === 1);
    const { loads } = await client.getLoads({});
    expect([loads[0]?.activePrefillTokens, loads[0]?.activeBlocks]).to.deep.equal([0n, 3n]);
    cut.abort();
  });

  it('keeps no session bound to a worker that a gateway announced and that never came', async () => {
    const { client, activeRequests, metrics } = await setUp([{ id: 1n }]);
    const cut = new AbortController();
    async function* messages() {
      yield create(SessionRequestSchema, { message: { case: 'hello', value: { gatewayId: 'g' } } });
      for (const [instanceId, sessionId] of [[1n, 'here'] as const, [9n, 'gone'] as const]) {
        const value = { route: request({ sessionId }), instanceId };
        yield create(SessionRequestSchema, { message: { case: 'reannounce', value } });
      }
      await new Promise((resolve) => cut.signal.addEventListener('abort', resolve, { once: true }));
    }
    const responses = client.session(messages(), { signal: cut.signal })[Symbol.asyncIterator]();
    await responses.next();
    await eventually('both are bound', async () => /^stator_router_session_bindings 2$/m.test(await metrics()));
    cut.abort();
    await eventually('both are freed', async () => (await activeRequests()) === 0);
    expect(await metrics()).to.match(/^stator_router_session_bindings 1$/m);
  });

  it('keeps the accounts of a reservation without a session by calls', async () => {
    const { client, activeRequests } = await setUp([{ id: 1n }]);
    const placed = request();
    await client.route(placed);
    const update = async (update: MessageInitShape<typeof UpdateReservationRequestSchema>['update']) =>
      (await client.updateReservation({ requestId: placed.requestId, ...(update === undefined ? {} : { update }) }))
        .found;
    expect(await update({ case: 'prefillDone', value: {} })).to.equal(true);
    const { loads } = await client.getLoads({});
    expect(loads[0]).to.include({ activeRequests: 1, activePrefillTokens: 0n });
    expect(await codeOf(update(undefined))).to.equal('invalid_argument');
    expect(await update({ case: 'finish', value: {} })).to.equal(true);
    expect(await update({ case: 'finish', value: {} })).to.equal(false);
    expect(await activeRequests()).to.equal(0);
  });

  it('routes to workers that a call made known, until a call removes them', async () => {
    const { client } = await setUp([{ id: 1n }]);
    const worker = workerInstance(7n, '');
    expect(await codeOf(client.upsertWorker({ worker: { ...worker, kind: ServiceKind.ROUTER } }))).to.equal(
      'invalid_argument',
    );
    expect(await codeOf(client.upsertWorker({ worker: workerInstance(1n, '') }))).to.equal('conflict');
    await client.upsertWorker({ worker });
    const pinned = request({ constraints: create(RoutingConstraintsSchema, { instanceId: 7n }) });
    expect((await client.route(pinned)).decision?.instanceId).to.equal(7n);
    expect((await client.removeWorker({ instanceId: 7n })).found).to.equal(true);
    expect((await client.removeWorker({ instanceId: 7n })).found).to.equal(false);
    expect((await client.removeWorker({ instanceId: 1n })).found).to.equal(false);
    expect((await client.listWorkers({})).workers.map(({ instanceId }) => instanceId)).to.deep.equal([1n]);
  });

  it('takes so many workers by calls and no more, and says how many it has', async () => {
    const { client, metrics } = await setUp([{ id: 1n }], { maxAddedWorkers: 2 });
    for (const id of [7n, 8n]) await client.upsertWorker({ worker: workerInstance(id, '') });
    const refused = await client.upsertWorker({ worker: workerInstance(9n, '') }).catch(StatorError.from);
    expect(refused).to.include({ code: 'overloaded' });
    expect(String(refused)).to.include('Calls made 2 workers known already');
    expect(await metrics())
      .to.match(/^stator_router_added_workers 2$/m)
      .and.match(/^stator_router_added_worker_limit 2$/m);
    await client.upsertWorker({ worker: workerInstance(8n, '', { taints: ['zone=a'] }) });
    await client.removeWorker({ instanceId: 7n });
    expect(await codeOf(client.upsertWorker({ worker: workerInstance(9n, '') }))).to.equal('no error');
  });
});
