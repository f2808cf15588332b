import { setTimeout as sleep } from 'node:timers/promises';
import { assert } from 'chai';
import type { IWatchResponse, WatchClient } from 'etcd3';
import { InstanceState } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { Backoff } from '#lib/discovery/backoff.ts';
import { Recorder, testInstance } from '#lib/discovery/conformance-support.ts';
import type { Discovery } from '#lib/discovery/discovery.ts';
import { EtcdDiscovery, type EtcdDiscoveryOptions } from '#lib/discovery/etcd.ts';
import { instancesInto } from '#lib/discovery/etcd-instances.ts';
import { instanceKey, instancesPrefix } from '#lib/discovery/etcd-keys.ts';
import { EtcdLink } from '#lib/discovery/etcd-link.ts';
import { parseEtcdTarget } from '#lib/discovery/etcd-target.ts';
import { EtcdWatcher } from '#lib/discovery/etcd-watcher.ts';
import { InstanceTable } from '#lib/discovery/table.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import { type EtcdServer, startEtcd } from '#tests/support/etcd.ts';
import { NO_ETCD } from '#tests/support/etcd-binary.ts';
import { skip } from '#tests/support/skip.ts';
import { startTcpProxy, type TcpProxy } from '#tests/support/tcp-proxy.ts';
import { until } from '#tests/support/until.ts';

const TTL_SECONDS = 4;
/** Far longer than anything here takes; only a hang reaches it. */
const RECOVERY_MS = 45_000;

interface Participant {
  readonly discovery: Discovery;
  readonly telemetry: Telemetry;
}

describe('etcd discovery under faults', function () {
  this.timeout(120_000);
  let server: EtcdServer;
  let proxy: TcpProxy;
  const participants: Participant[] = [];
  const recorders: Recorder[] = [];

  before(async function () {
    server = (await startEtcd()) ?? skip(this, NO_ETCD);
  });
  after(async () => server?.stop());
  beforeEach(async () => {
    proxy = await startTcpProxy(portOf(server));
  });
  afterEach(async () => {
    server.thaw();
    if (!server.running) await server.restart();
    proxy.heal();
    for (const { discovery } of participants.splice(0)) await discovery.close();
    await proxy.close();
    for (const recorder of recorders.splice(0)) assert.deepEqual(recorder.violations, []);
    await server.client.delete().all();
  });

  function open(endpoints = server.endpoint, o: Partial<EtcdDiscoveryOptions> = {}): Participant {
    const telemetry = quietTelemetry();
    const target = parseEtcdTarget(endpoints, { tls: false, options: {} });
    const discovery = new EtcdDiscovery(target, { namespace: 'faults', ttlSeconds: TTL_SECONDS, telemetry, ...o });
    const participant = { discovery, telemetry };
    participants.push(participant);
    return participant;
  }

  async function follow(participant: Participant): Promise<Recorder> {
    const recorder = new Recorder();
    recorders.push(recorder);
    await participant.discovery.watch(undefined, recorder).synced;
    return recorder;
  }

  it('carries on after etcd was killed for two seconds, without a change', async () => {
    const owner = open();
    const observer = open();
    const registration = await owner.discovery.register(testInstance(1n));
    const recorder = await follow(observer);
    await server.kill();
    await until('the outage is noticed', () =>
      metric(observer, 'stator_discovery_connected').then((value) => value === 0),
    );
    await sleep(2000);
    await server.restart();
    await until(
      'the watch is back',
      () => metric(observer, 'stator_discovery_connected').then((value) => value === 1),
      RECOVERY_MS,
    );
    await registration.update(testInstance(1n, { state: InstanceState.DRAINING }));
    await until('the update arrives', () => recorder.events.length === 2);
    assert.deepEqual(recorder.events, ['up 1', 'change 1 DRAINING']);
    assert.isAtLeast(await metric(observer, 'stator_discovery_reconnects_total'), 1);
  });

  it('keeps its view while etcd is away, and registers again after its lease ran out', async () => {
    const owner = open();
    const recorder = await follow(open());
    await owner.discovery.register(testInstance(1n));
    await until('up', () => recorder.up.size === 1);
    await server.kill();
    await sleep(2 * TTL_SECONDS * 1000);
    assert.deepEqual(recorder.events, ['up 1'], 'an outage of etcd takes nobody down');
    await server.restart();
    // What etcd does to leases that outlive their owner's silence: here an operator does it at once.
    await revokeAllLeases(server);
    await until('registered again', async () => (await keys(server)).length === 1, RECOVERY_MS);
    await until('seen again', () => recorder.up.size === 1, RECOVERY_MS);
    assert.isAtLeast(await metric(owner, 'stator_discovery_lease_losses_total'), 1);
    const late = await follow(open());
    assert.deepEqual(late.events, ['up 1']);
  });

  it('expires an owner that is cut off beyond its TTL, and takes it back by itself', async () => {
    const owner = open(`http://127.0.0.1:${proxy.port}`);
    const recorder = await follow(open());
    const registration = await owner.discovery.register(testInstance(1n));
    await until('up', () => recorder.up.size === 1);
    proxy.cut();
    await until('expired', () => recorder.events.at(-1) === 'down 1 expired');
    const updated = registration.update(testInstance(1n, { state: InstanceState.ASLEEP }));
    proxy.heal();
    await until('back', () => recorder.up.size === 1, RECOVERY_MS);
    await updated;
    await until('in its newest form', () => recorder.up.get(1n)?.state === InstanceState.ASLEEP);
    assert.equal(await metric(owner, 'stator_discovery_lease_losses_total'), 1);
  });

  it('notices a frozen etcd and recovers after it thaws', async () => {
    const owner = open();
    const observer = open();
    const recorder = await follow(observer);
    await owner.discovery.register(testInstance(1n));
    await until('up', () => recorder.up.size === 1);
    server.freeze();
    await until(
      'the observer notices',
      () => metric(observer, 'stator_discovery_connected').then((value) => value === 0),
      RECOVERY_MS,
    );
    await until(
      'the owner notices',
      () => metric(owner, 'stator_discovery_connected').then((value) => value === 0),
      RECOVERY_MS,
    );
    assert.equal(recorder.up.size, 1);
    server.thaw();
    await until(
      'connected',
      () => metric(observer, 'stator_discovery_connected').then((value) => value === 1),
      RECOVERY_MS,
    );
    await owner.discovery.register(testInstance(2n));
    await until('the truth', () => recorder.up.size === 2, RECOVERY_MS);
  });

  it('leaves a half-open connection for a new one', async () => {
    const owner = open();
    const observer = open(`http://127.0.0.1:${proxy.port}`);
    const recorder = await follow(observer);
    proxy.freeze();
    await owner.discovery.register(testInstance(1n));
    await until(
      'noticed',
      () => metric(observer, 'stator_discovery_connected').then((value) => value === 0),
      RECOVERY_MS,
    );
    assert.equal(recorder.up.size, 0);
    proxy.heal();
    await until('caught up', () => recorder.up.size === 1, RECOVERY_MS);
  });

  it('lists again when the history it missed is compacted', async () => {
    const owner = open();
    const recorder = await follow(open(`http://127.0.0.1:${proxy.port}`));
    const registration = await owner.discovery.register(testInstance(1n));
    await until('up', () => recorder.up.size === 1);
    proxy.cut();
    for (const state of [InstanceState.ASLEEP, InstanceState.READY, InstanceState.DRAINING]) {
      await registration.update(testInstance(1n, { state }));
    }
    await owner.discovery.register(testInstance(2n));
    await server.compact();
    proxy.heal();
    await until(
      'the truth',
      () => recorder.up.size === 2 && recorder.up.get(1n)?.state === InstanceState.DRAINING,
      RECOVERY_MS,
    );
    assert.deepEqual(recorder.events, ['up 1', 'change 1 DRAINING', 'up 2']);
  });

  it('works with a dead member in the list of endpoints', async () => {
    const dead = await startTcpProxy(1);
    dead.cut();
    try {
      const endpoints = `http://127.0.0.1:${dead.port},${server.endpoint}`;
      // Each starts at an endpoint by chance: several make it certain enough that both orders occur.
      const owners = Array.from({ length: 4 }, () => open(endpoints));
      const recorder = await follow(open(endpoints));
      await Promise.all(owners.map((owner, index) => owner.discovery.register(testInstance(BigInt(index + 1)))));
      await until('all up', () => recorder.up.size === 4, RECOVERY_MS);
    } finally {
      await dead.close();
    }
  });

  it('moves to another member when its own falls silent', async () => {
    const endpoints = `http://127.0.0.1:${proxy.port},${server.endpoint}`;
    const owner = open();
    const observers = Array.from({ length: 4 }, () => open(endpoints));
    const views = await Promise.all(observers.map(follow));
    proxy.freeze();
    await owner.discovery.register(testInstance(1n));
    await until('all see it', () => views.every((view) => view.up.size === 1), RECOVERY_MS);
  });

  it('waits for an etcd that is not there yet', async () => {
    await server.kill();
    const participant = open();
    const recorder = new Recorder();
    const watch = participant.discovery.watch(undefined, recorder);
    const registered = participant.discovery.register(testInstance(1n));
    await until('it is tried', () => metric(participant, 'stator_discovery_connected').then((value) => value === 0));
    await server.restart();
    await registered;
    await watch.synced;
    await until('up', () => recorder.up.size === 1);
  });

  it('closes in bounded time while etcd is away', async () => {
    const participant = open();
    await participant.discovery.register(testInstance(1n));
    const pending = open();
    server.freeze();
    const registering = pending.discovery.register(testInstance(2n)).then(
      () => 'registered',
      () => 'rejected',
    );
    await participant.discovery.close();
    await pending.discovery.close();
    assert.equal(await registering, 'rejected');
  });

  it('registers again in an etcd that lost its data, and says that it does not know why it was gone', async () => {
    const owner = open();
    const recorder = await follow(open());
    await owner.discovery.register(testInstance(1n));
    await until('up', () => recorder.up.size === 1);
    await server.wipe();
    await server.restart();
    await until('there again', async () => (await keys(server)).length === 1, RECOVERY_MS);
    await until('up', () => recorder.up.size === 1 && recorder.events.at(-1) === 'up 1', RECOVERY_MS);
    const downs = recorder.events.filter((event) => event.startsWith('down'));
    assert.isTrue(
      downs.every((event) => event === 'down 1 stale'),
      downs.join(', '),
    );
  });

  it('tells a mass expiry of leases from withdrawals', async () => {
    const recorder = await follow(open());
    const owners = Array.from({ length: 20 }, () => open());
    await Promise.all(owners.map((owner, index) => owner.discovery.register(testInstance(BigInt(index + 1)))));
    await until('all up', () => recorder.up.size === 20);
    await revokeAllLeases(server);
    await until('all down and up again', () => recorder.events.length === 60 && recorder.up.size === 20, RECOVERY_MS);
    assert.lengthOf(
      recorder.events.filter((event) => event.endsWith('expired')),
      20,
    );
  });

  it('completes a withdrawal that etcd was not there for', async () => {
    const owner = open();
    const recorder = await follow(open());
    const registration = await owner.discovery.register(testInstance(1n));
    await owner.discovery.register(testInstance(2n));
    await until('up', () => recorder.up.size === 2);
    await server.kill();
    await registration.withdraw();
    await server.restart();
    await until('withdrawn', () => recorder.up.size === 1, RECOVERY_MS);
    assert.isTrue(recorder.up.has(2n));
    await until('the key is gone', async () => (await keys(server)).length === 1);
  });

  it('refuses an instance that etcd cannot take, and keeps the form that it took', async () => {
    const owner = open();
    const recorder = await follow(open());
    const registration = await owner.discovery.register(testInstance(1n, { name: 'small' }));
    for (const bytes of [1_800_000, 8_000_000]) {
      await rejectsWith(registration.update(testInstance(1n, { name: 'x'.repeat(bytes) })), 'payload_too_large');
      await rejectsWith(owner.discovery.register(testInstance(2n, { name: 'x'.repeat(bytes) })), 'payload_too_large');
    }
    await server.client.delete().all();
    await until('its last good form is back', () => recorder.events.length === 3);
    assert.equal(recorder.up.get(1n)?.name, 'small');
    await registration.update(testInstance(1n, { name: 'new' }));
    await until('updated', () => recorder.up.get(1n)?.name === 'new');
  });

  it('puts back a key that somebody deleted', async () => {
    const owner = open();
    const recorder = await follow(open());
    await owner.discovery.register(testInstance(1n));
    await until('up', () => recorder.up.size === 1);
    await server.client.delete().all();
    await until('back', () => recorder.events.length === 3);
    assert.deepEqual(recorder.events, ['up 1', 'down 1 expired', 'up 1']);
  });

  it('ignores what is not an instance', async () => {
    const observer = open();
    const recorder = await follow(observer);
    const instance = testInstance(1n);
    instance.namespace = 'faults';
    await server.client.put(instanceKey(instance)).value(Buffer.from('not protobuf'));
    await server.client.put('/stator/v1/faults/instances/worker/zz').value('x');
    await server.client.put('/stator/v1/faults/instances/other').value('');
    await open().discovery.register(testInstance(2n));
    await until('the valid one', () => recorder.up.size === 1);
    assert.deepEqual(recorder.events, ['up 2']);
    assert.equal(await metric(observer, 'stator_discovery_invalid_entries_total'), 2);
  });

  it('leaves a complete view alone when it compares', async () => {
    const observer = open(server.endpoint, { auditMs: 50 });
    const recorder = await follow(observer);
    const registration = await open().discovery.register(testInstance(1n));
    for (let round = 0; round < 20; round += 1) {
      await registration.update(testInstance(1n, { name: `round ${round}` }));
      await sleep(20);
    }
    await until('the last update', () => recorder.up.get(1n)?.name === 'round 19');
    assert.equal(await metric(observer, 'stator_discovery_reconnects_total'), 0);
  });

  it('finds by comparison what the watch did not tell', async () => {
    const telemetry = quietTelemetry();
    const table = new InstanceTable(telemetry);
    const target = parseEtcdTarget(server.endpoint, { tls: false, options: {} });
    const link = new EtcdLink({ target, requestTimeoutMs: 2000, log: telemetry.log, metrics: table.metrics });
    loseEvents((await link.connection()).etcd.watchClient);
    const backoff = new Backoff({ firstMs: 10, maximumMs: 10 });
    const sink = { prefix: instancesPrefix('faults'), sink: instancesInto(table, telemetry.log) };
    const watcher = new EtcdWatcher({ link, ...sink, progressMs: 1000, auditMs: 50, backoff });
    const recorder = new Recorder();
    recorders.push(recorder);
    const { synced } = table.watch(undefined, recorder);
    watcher.start();
    await synced;
    await open().discovery.register(testInstance(1n));
    await until('found', () => recorder.up.size === 1);
    table.close();
    link.close();
    await watcher.close();
  });
});

async function rejectsWith(promise: Promise<unknown>, code: string): Promise<void> {
  const error = await promise.then(
    () => assert.fail(`expected ${code}`),
    (thrown: unknown) => thrown,
  );
  assert.instanceOf(error, StatorError);
  assert.equal(error.code, code);
}

function portOf(server: EtcdServer): number {
  return Number(new URL(server.endpoint).port);
}

async function metric(participant: Participant, name: string): Promise<number> {
  const found = await participant.telemetry.metrics.getSingleMetric(name)?.get();
  return found?.values[0]?.value ?? Number.NaN;
}

async function keys(server: EtcdServer): Promise<string[]> {
  return server.client.getAll().prefix('/stator/').keys();
}

async function revokeAllLeases(server: EtcdServer): Promise<void> {
  const { leases } = await server.client.leaseClient.leaseLeases();
  await Promise.all(leases.map((lease) => server.client.leaseClient.leaseRevoke({ ID: lease.ID })));
}

/** Makes a watch client whose streams never deliver an event, though they answer everything else. */
function loseEvents(watchClient: WatchClient): void {
  const watch = watchClient.watch.bind(watchClient);
  watchClient.watch = async (options) => {
    const stream = await watch(options);
    const on = stream.on.bind(stream) as (event: string, handler: (value: unknown) => void) => typeof stream;
    const filtered = (event: string, handler: (value: unknown) => void) => {
      if (event !== 'data') return on(event, handler);
      return on(event, (response) => handler({ ...(response as IWatchResponse), events: [] }));
    };
    stream.on = filtered as typeof stream.on;
    return stream;
  };
}
