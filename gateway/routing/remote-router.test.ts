import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import { expect } from 'chai';
import {
  BusyThresholdsSchema,
  ExplainResponseSchema,
  RouteDecisionSchema,
  RouteRequestSchema,
  RouterService,
  type SessionRequest,
} from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { createLocalClient } from '#lib/rpc/local.ts';
import { until } from '../testing/until.ts';
import { RemoteRouter } from './remote-router.ts';
import type { RouterClient } from './router-client.ts';
import { RouterSwitch } from './router-switch.ts';

type Message = SessionRequest['message'];

/** A router for tests: answers every route with one worker, or refuses models called "none", and can break its sessions. */
class TestRouter {
  readonly received: Message[] = [];
  sessions = 0;
  instanceId = 1n;
  readonly limits: (number | undefined)[] = [];
  answering = true;
  #breakers: (() => void)[] = [];

  breakSessions(): void {
    for (const breakOne of this.#breakers.splice(0)) breakOne();
  }

  cases(): (string | undefined)[] {
    return this.received.map((message) => message.case);
  }

  client(): ReturnType<typeof createLocalClient<typeof RouterService>> {
    const router = this;
    const session: ServiceImpl<typeof RouterService>['session'] = async function* (requests) {
      router.sessions += 1;
      const broken = new Promise<never>((_, reject) => {
        router.#breakers.push(() => reject(new StatorError('stream_incomplete', 'router died')));
      });
      broken.catch(() => {});
      const incoming = requests[Symbol.asyncIterator]();
      for (;;) {
        const next = await Promise.race([incoming.next(), broken]);
        if (next.done === true) return;
        const { message } = next.value;
        router.received.push(message);
        if (message.case === 'hello') yield { message: { case: 'welcome', value: { instanceId: router.instanceId } } };
        if (message.case !== 'route' || !router.answering) continue;
        const { requestId, model } = message.value;
        if (model === 'none') {
          const refused = { code: 'overloaded', message: 'full', retryAfterMs: 700 };
          yield { message: { case: 'routed', value: { requestId, outcome: { case: 'refused', value: refused } } } };
        } else {
          const decision = { instanceId: 7n, overlapTokens: 32 };
          yield { message: { case: 'routed', value: { requestId, outcome: { case: 'decision', value: decision } } } };
        }
      }
    };
    const explain: ServiceImpl<typeof RouterService>['explain'] = ({ route }) => {
      if (route?.model === 'none') throw new StatorError('model_not_found', 'no such model');
      return { decision: { instanceId: 7n }, costs: [{ instanceId: 7n, cost: 2, terms: { decode_blocks: 2 } }] };
    };
    const setThresholds: ServiceImpl<typeof RouterService>['setThresholds'] = ({ model, thresholds }) => {
      if (model === 'none') throw new StatorError('model_not_found', 'no such model');
      if (thresholds !== undefined) router.limits.push(thresholds.activeDecodeBlocks);
      const activeDecodeBlocks = router.limits.at(-1);
      return { thresholds: activeDecodeBlocks === undefined ? {} : { activeDecodeBlocks } };
    };
    const service = { session, explain, setThresholds } as unknown as ServiceImpl<typeof RouterService>;
    return createLocalClient(RouterService, service);
  }
}

function open(router: TestRouter, backoffMs = 1): RemoteRouter {
  return new RemoteRouter({
    gatewayId: 'g',
    client: router.client(),
    onClose: () => {},
    maxOutbox: 100,
    backoffMs: () => backoffMs,
    onStateChange: () => {},
  });
}

const never = new AbortController().signal;
const request = create(RouteRequestSchema, { requestId: 'r1', model: 'm' });

describe('RemoteRouter', () => {
  it('routes, reports progress and finishes, each exactly once', async () => {
    const router = new TestRouter();
    const remote = open(router);
    await until(() => remote.connected);
    expect((await remote.route(request, never)).instanceId).to.equal(7n);
    remote.prefillDone('r1');
    remote.outputBlock('r1', 16);
    remote.finish('r1', { workerFailed: true });
    remote.finish('r1', { workerFailed: true });
    remote.outputBlock('r1', 32);
    await until(() => router.received.length === 5);
    expect(router.cases()).to.deep.equal(['hello', 'route', 'prefillDone', 'outputBlock', 'finish']);
    expect(remote.reservations).to.equal(0);
    remote.close();
  });

  it('throws what the router refused with', async () => {
    const remote = open(new TestRouter());
    await until(() => remote.connected);
    const refused = create(RouteRequestSchema, { requestId: 'r2', model: 'none' });
    const error = await remote.route(refused, never).catch((thrown: unknown) => thrown);
    expect(error).to.be.instanceOf(StatorError).and.include({ code: 'overloaded', retryAfterMs: 700 });
    remote.close();
  });

  it('announces what is alive again after the router restarted', async () => {
    const router = new TestRouter();
    const remote = open(router);
    await until(() => remote.connected);
    await remote.route(request, never);
    remote.prefillDone('r1');
    remote.outputBlock('r1', 48);
    await until(() => router.received.length === 4);
    router.instanceId = 2n;
    router.breakSessions();
    await until(() => router.sessions === 2 && router.received.at(-1)?.case === 'reannounce');
    const last = router.received.at(-1);
    const progress = { prefillDone: true, outputTokens: 48 };
    expect(last?.value).to.deep.include({ instanceId: 7n, overlapTokens: 32, ...progress });
    remote.close();
  });

  it('gives a reservation back whose caller gave up', async () => {
    const router = new TestRouter();
    router.answering = false;
    const remote = open(router);
    await until(() => remote.connected);
    const abort = new AbortController();
    const pending = remote.route(request, abort.signal).catch((thrown: unknown) => thrown);
    await until(() => router.cases().includes('route'));
    abort.abort(new StatorError('cancelled', 'gone'));
    expect(await pending).to.include({ code: 'cancelled' });
    await until(() => router.cases().includes('finish'));
    expect(remote.reservations).to.equal(0);
    remote.close();
  });
});

describe('RouterSwitch', () => {
  const instance = { instanceId: 1n } as Parameters<RouterSwitch['up']>[0];

  function localRouter(): RouterClient {
    return {
      route: async () => create(RouteDecisionSchema, { instanceId: 99n }),
      explain: async () => create(ExplainResponseSchema, { decision: { instanceId: 99n } }),
      thresholds: async () => create(BusyThresholdsSchema, { activePrefillTokens: 99n }),
      prefillDone: () => {},
      outputBlock: () => {},
      finish: () => {},
      close: () => {},
    };
  }

  it('places requests itself while no router answers, and asks the router again when it is back', async () => {
    const router = new TestRouter();
    let fallbacks = 0;
    let remote: RemoteRouter | null = null;
    const routers = new RouterSwitch(
      () => {
        remote = open(router);
        return remote;
      },
      localRouter(),
      () => {
        fallbacks += 1;
      },
    );
    expect((await routers.route(request, never)).instanceId).to.equal(99n);
    routers.up(instance);
    await until(() => routers.connected);
    expect((await routers.route(request, never)).instanceId).to.equal(7n);
    routers.finish('r1', { workerFailed: false });
    router.answering = false;
    const pending = routers.route(create(RouteRequestSchema, { requestId: 'r3' }), never);
    await until(() => router.cases().filter((kind) => kind === 'route').length === 2);
    router.breakSessions();
    expect((await pending).instanceId).to.equal(99n);
    expect(fallbacks).to.equal(2);
    routers.close();
  });

  it('explains by the router, and by itself while none answers', async () => {
    const router = new TestRouter();
    const routers = new RouterSwitch(
      () => open(router, 60_000),
      localRouter(),
      () => {},
    );
    expect((await routers.explain(request, never)).decision?.instanceId).to.equal(99n);
    routers.up(instance);
    await until(() => routers.connected);
    const { decision, costs } = await routers.explain(request, never);
    expect(decision?.instanceId).to.equal(7n);
    expect(costs[0]?.terms).to.deep.equal({ decode_blocks: 2 });
    const unknown = create(RouteRequestSchema, { requestId: 'r2', model: 'none' });
    expect(await routers.explain(unknown, never).catch((thrown: unknown) => thrown)).to.include({
      code: 'model_not_found',
    });
    expect(router.cases()).to.deep.equal(['hello']);
    router.breakSessions();
    await until(() => !routers.connected);
    expect((await routers.explain(request, never)).decision?.instanceId).to.equal(99n);
    routers.close();
  });

  it('sets busy thresholds in every router, and reads those of one', async () => {
    const tests = [new TestRouter(), new TestRouter()];
    const named = (instanceId: bigint) => ({ instanceId }) as Parameters<RouterSwitch['up']>[0];
    const opened: RemoteRouter[] = [];
    const routers = new RouterSwitch(
      ({ instanceId }) => {
        const router = open(tests[Number(instanceId)] ?? new TestRouter());
        opened.push(router);
        return router;
      },
      localRouter(),
      () => {},
    );
    expect((await routers.thresholds('m', null, never)).activePrefillTokens).to.equal(99n);
    for (const instanceId of [0n, 1n]) routers.up(named(instanceId));
    await until(() => opened.every((router) => router.connected));
    expect((await routers.thresholds('m', null, never)).activeDecodeBlocks).to.equal(undefined);
    await routers.thresholds('m', { activeDecodeBlocks: 0.5 }, never);
    expect(tests.map((test) => test.limits)).to.deep.equal([[0.5], [0.5]]);
    expect((await routers.thresholds('m', null, never)).activeDecodeBlocks).to.equal(0.5);
    const unknown = await routers.thresholds('none', null, never).catch((thrown: unknown) => thrown);
    expect(unknown).to.include({ code: 'model_not_found' });
    routers.close();
  });

  it('tells a router of requests that were placed without one, as long as they run', async () => {
    const router = new TestRouter();
    const routers = new RouterSwitch(
      () => open(router),
      localRouter(),
      () => {},
    );
    const named = (requestId: string) => create(RouteRequestSchema, { requestId, model: 'm' });
    await routers.route(named('before'), never);
    await routers.route(named('ended'), never);
    routers.finish('ended', { workerFailed: false });
    routers.up(instance);
    await routers.route(named('connecting'), never);
    await until(() => router.cases().filter((kind) => kind === 'reannounce').length === 2);
    const announced = router.received.flatMap((message) =>
      message.case === 'reannounce' ? [[message.value.route?.requestId, message.value.instanceId]] : [],
    );
    expect(announced).to.deep.equal([
      ['before', 99n],
      ['connecting', 99n],
    ]);
    routers.finish('connecting', { workerFailed: false });
    await until(() => router.received.at(-1)?.case === 'finish');
    routers.close();
  });

  it('tells the next router of requests that run, whether it comes before or after the old one is gone', async () => {
    const tests = [new TestRouter(), new TestRouter(), new TestRouter()];
    const at = (index: number): TestRouter => tests[index] ?? new TestRouter();
    const named = (instanceId: bigint) => ({ instanceId }) as Parameters<RouterSwitch['up']>[0];
    const routers = new RouterSwitch(
      ({ instanceId }) => open(at(Number(instanceId))),
      localRouter(),
      () => {},
    );
    routers.up(named(0n));
    await until(() => routers.connected);
    await routers.route(request, never);
    routers.down(named(0n), 'withdrawn');
    routers.prefillDone('r1');
    routers.outputBlock('r1', 32);
    routers.up(named(1n));
    await until(() => at(1).received.at(-1)?.case === 'reannounce');
    expect(at(1).received.at(-1)?.value).to.deep.include({ instanceId: 7n, prefillDone: true, outputTokens: 32 });
    routers.up(named(2n));
    await until(() => at(2).cases().includes('hello'));
    routers.down(named(1n), 'withdrawn');
    await until(() => at(2).received.at(-1)?.case === 'reannounce');
    routers.finish('r1', { workerFailed: false });
    await until(() => at(2).received.at(-1)?.case === 'finish');
    routers.close();
  });

  it('forgets a request that ends while no router is known', async () => {
    const tests = [new TestRouter(), new TestRouter()];
    const at = (index: number): TestRouter => tests[index] ?? new TestRouter();
    const named = (instanceId: bigint) => ({ instanceId }) as Parameters<RouterSwitch['up']>[0];
    const routers = new RouterSwitch(
      ({ instanceId }) => open(at(Number(instanceId))),
      localRouter(),
      () => {},
    );
    routers.up(named(0n));
    await until(() => routers.connected);
    await routers.route(request, never);
    routers.down(named(0n), 'withdrawn');
    routers.finish('r1', { workerFailed: false });
    routers.up(named(1n));
    await until(() => routers.connected);
    await routers.route(create(RouteRequestSchema, { requestId: 'r2', model: 'm' }), never);
    await until(() => at(1).cases().includes('route'));
    expect(at(1).cases()).to.deep.equal(['hello', 'route']);
    routers.close();
  });

  it('keeps a router that discovery lost for as long as its session lives', async () => {
    const router = new TestRouter();
    const routers = new RouterSwitch(
      () => open(router, 60_000),
      localRouter(),
      () => {},
    );
    routers.up(instance);
    await until(() => routers.connected);
    routers.down(instance, 'expired');
    expect((await routers.route(request, never)).instanceId).to.equal(7n);
    router.breakSessions();
    await until(() => !routers.connected);
    const second = create(RouteRequestSchema, { requestId: 'r2', model: 'm' });
    expect((await routers.route(second, never)).instanceId).to.equal(99n);
    expect(router.sessions).to.equal(1);
    routers.close();
  });
});
