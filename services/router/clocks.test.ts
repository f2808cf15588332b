import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect } from 'chai';
import { seeded } from '#core/sequences/twin.test-support.ts';
import type { RouteDecision, RouteRequest } from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { systemClock } from './clock.ts';
import { eventually, routeRequest, type TestRouter, TestRouters } from './router.test-support.ts';

const day = 86_400_000;

/** A clock that goes only by hand. */
class HandClock {
  now = 1000;
  wall = Date.UTC(2026, 0, 1);
  readonly nowMs = (): number => this.now;
  readonly wallMs = (): number => this.wall;
  readonly after = systemClock.after;
  readonly soon = systemClock.soon;
}

describe('clocks that jump', () => {
  const routers = new TestRouters();
  const { signal } = new AbortController();
  let clock: HandClock;

  beforeEach(() => {
    clock = new HandClock();
  });

  afterEach(() => routers.close());

  const route = ({ router }: TestRouter, request: RouteRequest): Promise<RouteDecision> =>
    router.client.route(request, signal);
  const finish = ({ router }: TestRouter, { requestId }: RouteRequest): void =>
    router.client.finish(requestId, { workerFailed: false });
  const queued = async ({ client }: TestRouter): Promise<number> => (await client.getLoads({})).queuedRequests;
  const codeAndText = async (run: Promise<unknown>): Promise<string> =>
    run.then(
      () => 'placed',
      (thrown: unknown) => `${StatorError.from(thrown).code}`,
    );

  for (const [name, jump] of [
    ['ahead', day],
    ['back', -day],
  ] as const)
    it(`a time of day that jumps ${name} neither ends nor prolongs what waits`, async () => {
      const test = await routers.start([{ id: 1n }], { queueThreshold: 1 }, clock);
      const first = routeRequest();
      await route(test, first);
      const waiting = routeRequest({ deadlineUnixMs: BigInt(clock.wall + 5000) });
      const placed = route(test, waiting);
      const late = routeRequest({ deadlineUnixMs: BigInt(clock.wall + 5000) });
      const expired = codeAndText(route(test, late));
      await eventually('both wait', async () => (await queued(test)) === 2);
      clock.wall += jump;
      finish(test, first);
      expect((await placed).instanceId).to.equal(1n);
      clock.now += 5001;
      finish(test, waiting);
      expect(await expired).to.equal('deadline_exceeded');
    });

  it('a deadline that a jump made distant does not outlast the queue’s own limit', async () => {
    const test = await routers.start([{ id: 1n }], { queueThreshold: 1, queueTimeoutMs: 50 }, clock);
    await route(test, routeRequest());
    const outcome = codeAndText(route(test, routeRequest({ deadlineUnixMs: BigInt(clock.wall + 30 * day) })));
    await eventually('it waits', async () => (await queued(test)) === 1);
    clock.now += 51;
    expect(await outcome).to.equal('queue_timeout');
  });

  it('an arrival told by a clock that is wrong moves a request by an hour at most', async () => {
    const test = await routers.start([{ id: 1n }], { queueThreshold: 1, queueTimeoutMs: 0 }, clock);
    const first = routeRequest();
    await route(test, first);
    const order: string[] = [];
    const wait = async (name: string, arrivalUnixMs: number, priority = 0): Promise<void> => {
      const request = routeRequest({ arrivalUnixMs: BigInt(arrivalUnixMs), priority });
      const before = await queued(test);
      void route(test, request).then(() => {
        order.push(name);
        finish(test, request);
      });
      await eventually('it waits', async () => (await queued(test)) === before + 1);
    };
    await wait('now', clock.wall);
    await wait('a day ahead', clock.wall + day);
    await wait('a month behind', clock.wall - 30 * day);
    await wait('urgent by more than an hour', clock.wall, 3601);
    finish(test, first);
    await eventually('all had their turn', () => order.length === 4);
    expect(order).to.deep.equal(['urgent by more than an hour', 'a month behind', 'now', 'a day ahead']);
  });

  it('a pause of the whole process forgets sessions that ran out, and nothing that runs', async () => {
    const test = await routers.start([{ id: 1n }, { id: 2n }], { inhibitMs: 1000, sessionTtlSeconds: 60 }, clock);
    const running = routeRequest({ sessionId: 'running' });
    const { instanceId } = await route(test, running);
    const idle = routeRequest({ sessionId: 'idle' });
    await route(test, idle);
    finish(test, idle);
    clock.now += day;
    expect(await test.activeRequests()).to.equal(1);
    expect(await test.metrics()).to.match(/^stator_router_session_bindings 1$/m);
    expect(await route(test, routeRequest({ sessionId: 'running' }))).to.include({ instanceId, bySession: true });
    expect(await route(test, routeRequest({ sessionId: 'idle' }))).to.include({ bySession: false });
  });

  it('leave no trace in the accounts, whatever they do', async () => {
    const random = seeded(7);
    const below = (limit: number): number => Math.floor(random() * limit);
    const test = await routers.start(
      [{ id: 1n }, { id: 2n }, { id: 3n }],
      { queueThreshold: 4, prefillLoadModel: 'learned', trackOutputBlocks: true, predictedTtlSeconds: 5 },
      clock,
    );
    const running: RouteRequest[] = [];
    const outcomes = new Map<string, number>();
    const count = (outcome: string): unknown => outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    const jumps = [
      () => (clock.wall += (random() - 0.5) * 4 * day),
      () => (clock.now += below(3_600_000)),
      () => (clock.now -= below(50)),
      () => (clock.wall += 3_600_000),
    ];
    const place = (): void => {
      const hashes = new Uint8Array(8 * 8);
      for (let at = 0; at < 8; at++) hashes[at * 8] = 1 + below(3);
      const request = routeRequest({
        promptTokens: 16 * 8 + below(16),
        sequenceHashes: hashes,
        sessionId: below(2) === 0 ? `s${below(5)}` : '',
        ...(below(3) === 0 ? { deadlineUnixMs: BigInt(Math.trunc(clock.wall) + 1 + below(10_000)) } : {}),
        ...(below(3) === 0 ? { arrivalUnixMs: BigInt(Math.trunc(clock.wall) - below(100_000) + 50_000) } : {}),
      });
      running.push(request);
      route(test, request).then(
        () => count('placed'),
        (thrown: unknown) => count(StatorError.from(thrown).code),
      );
    };
    const step = (): void => {
      const [request] = running.splice(below(running.length), 1);
      if (request === undefined) return;
      const { requestId } = request;
      if (below(2) === 0) test.router.client.prefillDone(requestId);
      if (below(2) === 0) test.router.client.outputBlock(requestId, 16 * (1 + below(4)));
      test.router.client.finish(requestId, { workerFailed: below(20) === 0 });
    };
    for (let round = 0; round < 4000; round++) {
      clock.now += random() * 10;
      clock.wall += random() * 10;
      if (below(10) === 0) jumps[below(jumps.length)]?.();
      if (running.length < 30 && below(2) === 0) place();
      else step();
      if (below(8) === 0) await nextTurn();
    }
    while (running.length > 0) step();
    await eventually('nothing waits', async () => (await queued(test)) === 0);
    for (const load of (await test.client.getLoads({})).loads)
      expect(load).to.include({ activeRequests: 0, activePrefillTokens: 0n, activeBlocks: 0n });
    expect([...outcomes.keys()]).to.include.members(['placed', 'deadline_exceeded', 'cancelled']);
    const page = await test.metrics();
    expect(page).not.to.match(/^stator_router_\S+ (NaN|-)/m);
  });
});
