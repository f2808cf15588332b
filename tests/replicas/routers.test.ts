import { create } from '@bufbuild/protobuf';
import type { Client } from '@connectrpc/connect';
import { expect } from 'chai';
import { packHashes } from '#core/tokens/packed-hashes.ts';
import { InstanceSchema, InstanceState, ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { ModelCardSchema } from '#gen/stator/model/v1/model_pb.ts';
import {
  RouterService as Contract,
  type RouteRequest,
  RouteRequestSchema,
  type SessionRequest,
  SessionRequestSchema,
  type SessionResponse,
} from '#gen/stator/router/v1/router_pb.ts';
import { defaultSettings } from '#lib/config/settings.ts';
import { MemoryDiscovery, MemoryHub } from '#lib/discovery/memory.ts';
import { createRpcClient } from '#lib/rpc/client.ts';
import { Outbox } from '#lib/rpc/outbox.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { routerSettings } from '#services/router/config.ts';
import { startRouter } from '#services/router/service.ts';
import { until } from '../support/until.ts';

const nothing = { requests: 0, prefillTokens: 0, blocks: 0 };

/** A router of the group, with the connection of a test to it. */
interface Member {
  readonly client: Client<typeof Contract>;
  stop(): Promise<void>;
}

describe('routers of one namespace', () => {
  const cleanUps: (() => unknown)[] = [];
  let hub: MemoryHub;

  beforeEach(() => {
    hub = new MemoryHub();
  });

  afterEach(async () => {
    for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
  });

  async function start(instanceId: bigint): Promise<Member> {
    const telemetry = quietTelemetry();
    const discovery = new MemoryDiscovery(hub, { namespace: 'replicas', telemetry });
    const config = defaultSettings(routerSettings, {
      shutdownGraceSeconds: 0,
      peerHeartbeatMs: 50,
      sessionAffinity: 'soft',
    });
    const shutdown = new AbortController();
    const router = await startRouter(config, { telemetry, discovery, shutdown: shutdown.signal, instanceId });
    const { client, close } = createRpcClient(Contract, { address: router.address }, telemetry);
    const stop = async (): Promise<void> => {
      await router.stop();
      close();
      await discovery.close();
    };
    cleanUps.push(stop);
    return { client, stop };
  }

  async function startWithWorkers(...ids: readonly bigint[]): Promise<Member[]> {
    const discovery = new MemoryDiscovery(hub, { namespace: 'replicas', telemetry: quietTelemetry() });
    cleanUps.push(() => discovery.close());
    for (const instanceId of [101n, 102n]) await discovery.register(worker(instanceId));
    return Promise.all(ids.map(start));
  }

  async function load({ client }: Member): Promise<typeof nothing> {
    const { loads } = await client.getLoads({});
    const sum = { ...nothing };
    for (const each of loads) {
      sum.requests += each.activeRequests;
      sum.prefillTokens += Number(each.activePrefillTokens);
      sum.blocks += Number(each.activeBlocks);
    }
    return sum;
  }

  async function haveLoad(members: readonly Member[], expected: typeof nothing): Promise<void> {
    await until(`all have ${JSON.stringify(expected)}`, async () => {
      expect(await Promise.all(members.map(load))).to.deep.equal(members.map(() => expected));
      return true;
    });
  }

  it('see the load that each of them placed, and place by it', async () => {
    const [a, b] = (await startWithWorkers(1n, 2n)) as [Member, Member];
    const { decision: first } = await a.client.route(request('one', 64));
    await haveLoad([a, b], { requests: 1, prefillTokens: 64, blocks: 4 });
    const { decision: second } = await b.client.route(request('two', 64));
    expect(second?.instanceId, 'the worker that the other one left free').not.to.equal(first?.instanceId);
    await haveLoad([a, b], { requests: 2, prefillTokens: 128, blocks: 8 });
    await a.client.updateReservation({ requestId: 'one', update: { case: 'prefillDone', value: {} } });
    await haveLoad([a, b], { requests: 2, prefillTokens: 64, blocks: 8 });
    await a.client.updateReservation({ requestId: 'one', update: { case: 'finish', value: {} } });
    await b.client.updateReservation({ requestId: 'two', update: { case: 'finish', value: {} } });
    await haveLoad([a, b], nothing);
  });

  it('count a gateway that moves once, and take over a session of one that stops', async () => {
    const [a, b, c] = (await startWithWorkers(1n, 2n, 3n)) as [Member, Member, Member];
    const first = openSession(a, 'gateway');
    const route = request('one', 64, 'conversation');
    const decision = await first.route(route);
    const expected = { requests: 1, prefillTokens: 64, blocks: 4 };
    await haveLoad([a, b, c], expected);
    const second = openSession(b, 'gateway');
    const { instanceId, dataParallelRank } = decision;
    second.send({ case: 'reannounce', value: { route, instanceId, dataParallelRank } });
    await haveLoad([a, b, c], expected);
    await a.stop();
    await haveLoad([b, c], expected);
    const { decision: next } = await c.client.route(request('two', 64, 'conversation'));
    expect(next).to.include({ instanceId, bySession: true });
    await c.client.updateReservation({ requestId: 'two', update: { case: 'finish', value: {} } });
    second.send({ case: 'finish', value: { requestId: 'one' } });
    await haveLoad([b, c], nothing);
  });

  it('tell one that starts anew what is in flight, and forget what only a lost one had', async () => {
    const [a, b] = (await startWithWorkers(1n, 2n)) as [Member, Member];
    await a.client.route(request('one', 64));
    await b.client.route(request('two', 64));
    await haveLoad([a, b], { requests: 2, prefillTokens: 128, blocks: 8 });
    await b.stop();
    const left = { requests: 1, prefillTokens: 64, blocks: 4 };
    await haveLoad([a], left);
    const anew = await start(3n);
    await haveLoad([a, anew], left);
    await a.client.updateReservation({ requestId: 'one', update: { case: 'finish', value: {} } });
    await haveLoad([a, anew], nothing);
  });

  function openSession({ client }: Member, gatewayId: string) {
    const outbox = new Outbox<SessionRequest>(100);
    const send = (message: NonNullable<Parameters<typeof create<typeof SessionRequestSchema>>[1]>['message'] & {}) =>
      outbox.push(create(SessionRequestSchema, { message }));
    send({ case: 'hello', value: { gatewayId } });
    const responses = client.session(outbox)[Symbol.asyncIterator]();
    cleanUps.push(() => outbox.close());
    const nextDecision = async (): Promise<{ instanceId: bigint; dataParallelRank: number }> => {
      for (;;) {
        const next: IteratorResult<SessionResponse> = await responses.next();
        if (next.done === true) throw new Error('the session ended');
        const { message } = next.value;
        if (message.case === 'routed' && message.value.outcome.case === 'decision') return message.value.outcome.value;
      }
    };
    // Reads on, so that the stream's end is noticed.
    void responses.next().catch(() => undefined);
    return {
      send,
      route: (route: RouteRequest) => {
        send({ case: 'route', value: route });
        return nextDecision();
      },
    };
  }
});

function worker(instanceId: bigint) {
  const card = create(ModelCardSchema, { name: 'm', digest: Uint8Array.of(1), limits: { kvBlockSize: 16 } });
  return create(InstanceSchema, {
    instanceId,
    kind: ServiceKind.WORKER,
    // Nobody answers there: what it says of its load is not asked for here.
    address: '127.0.0.1:9',
    state: InstanceState.READY,
    cards: [card],
  });
}

let lastHash = 0n;

function request(requestId: string, promptTokens: number, sessionId = ''): RouteRequest {
  const hashes = BigUint64Array.from({ length: promptTokens / 16 }, () => ++lastHash);
  const sequenceHashes = packHashes(hashes);
  return create(RouteRequestSchema, {
    requestId,
    model: 'm',
    promptTokens,
    sequenceHashes,
    kvBlockSize: 16,
    sessionId,
  });
}
