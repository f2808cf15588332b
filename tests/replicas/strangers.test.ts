import { create } from '@bufbuild/protobuf';
import { expect } from 'chai';
import {
  RouterService,
  type SyncPeersRequest,
  SyncPeersRequestSchema,
  SyncPeersResponseSchema,
} from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { createRpcClient } from '#lib/rpc/client.ts';
import { startRpcServer } from '#lib/rpc/server.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { until } from '../support/until.ts';
import { Replica, reservationOf, worker } from './replica.ts';

type Fields = Parameters<typeof create<typeof SyncPeersRequestSchema>>[1];

describe('a replica of the router with peers that misbehave', () => {
  const replica = new Replica(1n, { peerHeartbeatMs: 5000, peerBufferMib: 1, maxPeers: 2, peerMaxReservations: 3 });
  const cleanUps: (() => unknown)[] = [];

  before(() => replica.start());
  after(() => replica.stop());
  afterEach(async () => {
    for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
  });

  /** Sends messages and, unless it fails before, ends the stream once `done`. */
  async function send(messages: readonly Fields[], done: () => boolean = () => true): Promise<SyncPeersRequest[]> {
    const { client, close } = createRpcClient(
      RouterService,
      { address: `127.0.0.1:${replica.port}` },
      quietTelemetry(),
    );
    cleanUps.push(close);
    const received: SyncPeersRequest[] = [];
    async function* requests(): AsyncGenerator<SyncPeersRequest> {
      for (const message of messages) yield create(SyncPeersRequestSchema, message);
      await until('the test is done', done);
    }
    for await (const { change } of client.syncPeers(requests())) if (change !== undefined) received.push(change);
    return received;
  }

  async function refused(...messages: Fields[]): Promise<StatorError> {
    let isOver = false;
    const thrown = await send(messages, () => isOver).catch((error: unknown) => error);
    isOver = true;
    if (!(thrown instanceof StatorError)) throw new Error(`no StatorError but ${String(thrown)}`);
    return thrown;
  }

  it('refuses what it cannot understand, naming the field', async () => {
    expect(await refused({})).to.include({ code: 'invalid_argument', field: 'router_instance_id' });
    expect(await refused({ routerInstanceId: 5n }, { routerInstanceId: 6n })).to.include({
      code: 'invalid_argument',
      field: 'router_instance_id',
    });
    const placed = [{ instanceId: worker }];
    const snapshot = { routerInstanceId: 5n, snapshot: true, snapshotBegins: true };
    expect(await refused(snapshot, { routerInstanceId: 5n, sequenceNumber: 1n, placed })).to.include({
      code: 'invalid_argument',
      field: 'placed.route',
    });
    expect(await refused({ routerInstanceId: replica.id })).to.include({ code: 'conflict' });
  });

  it('keeps at most so many replicas, and so many reservations of each', async () => {
    const placed = ['one', 'two', 'three', 'four'].map((requestId) => reservationOf('g', requestId));
    const snapshot = { snapshot: true, snapshotBegins: true, snapshotEnds: true, placed };
    let done = false;
    const streams = [5n, 6n].map((routerInstanceId) => send([{ routerInstanceId, ...snapshot }], () => done));
    await until('both are linked', () => replica.sync.linked.length === 2);
    await until('both told', () => replica.sync.told.shadowed === 3);
    expect(replica.accounts.size).to.equal(3);
    expect(await replica.metric('stator_router_peer_reservations_dropped_total', { because: 'limit' })).to.equal(2);
    expect(await refused({ routerInstanceId: 7n })).to.include({ code: 'overloaded' });
    done = true;
    await Promise.all(streams);
  });

  it('asks for a snapshot when a message is missing, and gives one when asked', async () => {
    const routerInstanceId = 5n;
    const snapshot = { routerInstanceId, snapshot: true, snapshotBegins: true, snapshotEnds: true };
    const finished = [{ gatewayId: 'g', requestId: 'one' }];
    let done = false;
    const received = send(
      [
        { ...snapshot, sequenceNumber: 10n, placed: [reservationOf('g', 'one')] },
        { routerInstanceId, sequenceNumber: 12n, finished },
        { routerInstanceId, sequenceNumber: 12n, resync: true },
      ],
      () => done,
    );
    await until('it noticed', async () => (await replica.metric('stator_router_peer_gaps_total')) === 1);
    await until(
      'it was asked',
      async () => (await replica.metric('stator_router_peer_resyncs_total', { because: 'asked' })) === 1,
    );
    done = true;
    const messages = await received;
    expect(messages.some(({ resync }) => resync)).to.equal(true);
    expect(messages.filter(({ snapshotBegins }) => snapshotBegins)).to.have.length.greaterThan(0);
  });

  it('buffers a bounded amount for a slow reader, who gets everything by a snapshot later', async () => {
    const gate = Promise.withResolvers<void>();
    const received: SyncPeersRequest[] = [];
    const telemetry = quietTelemetry();
    const slow = await startRpcServer({
      listen: '127.0.0.1:0',
      services: [RouterService],
      routes: (router) =>
        router.service(RouterService, {
          async *syncPeers(requests) {
            yield create(SyncPeersResponseSchema, { change: { routerInstanceId: 9n } });
            await gate.promise;
            for await (const request of requests) received.push(request);
          },
        }),
      telemetry,
    });
    const fast = new Replica(1n, { peerHeartbeatMs: 5000, peerBufferMib: 1 });
    cleanUps.push(
      () => slow.stop(0),
      () => fast.stop(),
    );
    await fast.start([`127.0.0.1:${slow.port}`]);
    await until('they are linked', () => fast.sync.linked.length === 1);
    const wasCutOff = async (): Promise<boolean> =>
      (await fast.metric('stator_router_peer_resyncs_total', { because: 'slow' })) > 0;
    let requests = 0;
    await until('it is cut off', async () => {
      fast.place('g', `request ${requests++}`, 16_384);
      return await wasCutOff();
    });
    fast.finish('g', 'request 0');
    gate.resolve();
    await until('it has all', () => replay(received).size === requests - 1);
    expect(replay(received).has('request 0')).to.equal(false);
    expect(received.filter(({ snapshotBegins }) => snapshotBegins)).to.have.length(2);
  });

  /** What a reader of these messages knows. */
  function replay(messages: readonly SyncPeersRequest[]): Set<string> {
    let known = new Set<string>();
    for (const { snapshotBegins, finished, placed } of messages) {
      if (snapshotBegins) known = new Set();
      for (const { requestId } of finished) known.delete(requestId);
      for (const { route } of placed) known.add(route?.requestId ?? '');
    }
    return known;
  }
});
