import { create } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { SessionBindingSchema } from '#gen/stator/router/v1/router_pb.ts';
import { until } from '../support/until.ts';
import { Mesh, Replica } from './replica.ts';

describe('replicas of the router over gRPC', () => {
  let mesh: Mesh;

  afterEach(() => mesh?.stop());

  async function start(...replicas: Replica[]): Promise<void> {
    mesh = new Mesh(replicas);
    await mesh.start();
    await until('all are linked', () => areLinked(replicas));
  }

  function areLinked(replicas: readonly Replica[]): boolean {
    return replicas.every(({ sync }) => sync.linked.length === replicas.length - 1);
  }

  function count(replica: Replica, ...expected: string[]): Promise<unknown> {
    return until(`replica ${replica.id} counts ${expected.join(', ') || 'nothing'}`, () => {
      expect(replica.counts()).to.deep.equal(expected.sort());
      return true;
    });
  }

  it('tell each other what is placed, computed and ended, over one stream', async () => {
    // Seldom enough that a busy machine does not take one for silent: then there would be a second stream.
    const [a, b] = [new Replica(1n, { peerHeartbeatMs: 500 }), new Replica(2n, { peerHeartbeatMs: 500 })];
    await start(a, b);
    a.place('g', 'one');
    b.place('h', 'two');
    await count(a, 'g one', 'h two');
    await count(b, 'g one', 'h two');
    a.prefillDone('g', 'one');
    await count(b, 'g one done', 'h two');
    a.finish('g', 'one');
    await count(b, 'h two');
    b.endOwner('h');
    await count(a);
    expect([a.accounts.size, b.accounts.size]).to.deep.equal([0, 0]);
    expect(await b.metric('stator_router_peer_resyncs_total', { because: 'connected' })).to.equal(1);
    await until(
      'the streams are counted',
      async () => (await a.metric('stator_router_peers', { state: 'linked' })) === 1,
    );
  });

  it('learn what was placed before they met, and of sessions', async () => {
    const [a, b] = [new Replica(2n), new Replica(1n)];
    const [mine, others] = [2n, 5n].map((routerInstanceId) =>
      create(SessionBindingSchema, {
        model: 'm',
        sessionId: `of ${routerInstanceId}`,
        instanceId: 7n,
        routerInstanceId,
      }),
    );
    if (mine === undefined || others === undefined) throw new Error('no bindings');
    a.bindings.push(mine, others);
    mesh = new Mesh([a, b]);
    await a.start();
    for (let request = 0; request < 1000; request++) a.place('g', `request ${request}`);
    await b.start();
    await b.tell(a, `127.0.0.1:${a.port}`);
    await until('b counts all', () => b.accounts.size === 1000);
    await until('b heard of the session', () => b.bindings.length > 0);
    // What others made they tell themselves.
    expect(b.bindings.map(({ sessionId }) => sessionId)).to.deep.equal(['of 2']);
    a.sync.sessionBound(create(SessionBindingSchema, { ...mine, sessionId: 'later' }));
    await until('b heard of the next one', () => b.bindings.at(-1)?.sessionId === 'later');
    a.endOwner('g');
    await count(b);
  });

  it('keep what they know through a partition and agree after it', async () => {
    const [a, b, c] = [new Replica(3n), new Replica(1n), new Replica(2n)];
    await start(a, b, c);
    a.place('g', 'one');
    b.place('h', 'two');
    c.place('i', 'three');
    for (const replica of [a, b, c]) await count(replica, 'g one', 'h two', 'i three');
    for (const relay of mesh.around(c)) relay.cut();
    await until(
      'c is alone',
      () => c.sync.linked.length === 0 && a.sync.linked.length === 1 && b.sync.linked.length === 1,
    );
    a.finish('g', 'one');
    c.prefillDone('i', 'three');
    c.place('i', 'four');
    await count(b, 'h two', 'i three');
    expect(c.counts()).to.deep.equal(['g one', 'h two', 'i four', 'i three done']);
    for (const relay of mesh.around(c)) relay.heal();
    await until('all are linked again', () => areLinked([a, b, c]));
    for (const replica of [a, b, c]) await count(replica, 'h two', 'i three done', 'i four');
    for (const gateway of ['g', 'h', 'i']) for (const replica of [a, b, c]) replica.endOwner(gateway);
    for (const replica of [a, b, c]) await count(replica);
  });

  it('notice a half-open stream and replace it', async () => {
    const [a, b] = [new Replica(1n), new Replica(2n)];
    await start(a, b);
    a.place('g', 'one');
    await count(b, 'g one');
    for (const relay of mesh.around(b)) relay.freeze();
    await until('both noticed', () => a.sync.linked.length === 0 && b.sync.linked.length === 0);
    a.finish('g', 'one');
    a.place('g', 'two');
    for (const relay of mesh.around(b)) relay.heal();
    await count(b, 'g two');
    // Whoever notices first closes the connection, and so may end the stream of the other.
    const silent = [a, b].map((one) => one.metric('stator_router_peer_streams_ended_total', { because: 'silent' }));
    expect(Math.max(...(await Promise.all(silent)))).to.be.greaterThan(0);
  });

  it('forget an unreachable replica after a time, and know it again', async () => {
    const [a, b] = [new Replica(1n), new Replica(2n, { peerHoldSeconds: 0.3 })];
    await start(a, b);
    a.place('g', 'one');
    await count(b, 'g one');
    for (const relay of mesh.around(b)) relay.cut();
    await count(b);
    expect(await b.metric('stator_router_peer_reservations_dropped_total', { because: 'unreachable' })).to.equal(1);
    for (const relay of mesh.around(b)) relay.heal();
    await count(b, 'g one');
  });

  it('forget at once a replica that discovery too says is gone, and one that says farewell', async () => {
    const [a, b, c] = [new Replica(1n), new Replica(2n), new Replica(3n)];
    await start(a, b);
    await c.start();
    const registration = await b.tell(c, `127.0.0.1:${c.port}`);
    await until('b knows c', () => b.sync.linked.length === 2);
    c.place('i', 'three');
    a.place('g', 'one');
    await count(b, 'g one', 'i three');
    await registration.withdraw();
    expect(b.counts(), 'its stream is alive').to.deep.equal(['g one', 'i three']);
    await c.kill();
    await count(b, 'g one');
    await a.sync.close();
    await count(b);
    await c.stop();
  });

  it('count a request once while its gateway moves, whatever arrives when', async () => {
    const [a, b, c] = [new Replica(1n), new Replica(2n), new Replica(3n)];
    await start(a, b, c);
    a.place('g', 'one');
    for (const replica of [b, c]) await count(replica, 'g one');
    b.place('g', 'one');
    await until('both know of both', () => a.sync.told.shadowed === 1 && c.sync.told.shadowed === 1);
    expect(b.sync.told, 'a says so too').to.include({ shadowed: 1 });
    for (const replica of [a, b, c]) expect(replica.counts()).to.deep.equal(['g one']);
    a.endOwner('g');
    await until('a gave up its own', () => a.sync.told.counted === 1 && c.sync.told.shadowed === 0);
    for (const replica of [a, b, c]) await count(replica, 'g one');
    b.finish('g', 'one');
    for (const replica of [a, b, c]) await count(replica);
  });

  it('find each other by addresses alone, from either side or both', async () => {
    const [a, b, c] = [new Replica(2n), new Replica(1n), new Replica(3n)];
    mesh = new Mesh([a, b, c]);
    await a.start();
    await b.start([`127.0.0.1:${a.port}`]);
    // b is dialed twice, as discovery tells of it too.
    await c.start([`127.0.0.1:${a.port}`, `127.0.0.1:${b.port}`]);
    await c.tell(b, `localhost:${b.port}`);
    await until('all are linked', () => areLinked([a, b, c]));
    a.place('g', 'one');
    for (const replica of [b, c]) await count(replica, 'g one');
    c.place('h', 'two');
    for (const replica of [a, b]) await count(replica, 'g one', 'h two');
  });

  it('count for a gateway that moved no longer than it says, though its old router just fell silent', async () => {
    const [a, b, c] = [new Replica(1n), new Replica(2n), new Replica(3n)];
    await start(a, b, c);
    a.place('g', 'one');
    a.place('g', 'two');
    for (const replica of [b, c]) await count(replica, 'g one', 'g two');
    for (const relay of mesh.around(a)) relay.cut();
    await until('a is alone', () => b.sync.linked.length === 1 && c.sync.linked.length === 1);
    b.place('g', 'one');
    await until('c heard of it', () => b.sync.told.counted === 1);
    for (const replica of [b, c]) expect(replica.counts()).to.deep.equal(['g one', 'g two']);
    b.finish('g', 'one');
    for (const replica of [b, c]) await count(replica, 'g two');
    expect(await c.metric('stator_router_peer_reservations_dropped_total')).to.equal(0);
  });
});
