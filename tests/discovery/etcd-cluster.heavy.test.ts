import { assert } from 'chai';
import { InstanceState } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { Recorder, testInstance } from '#lib/discovery/conformance-support.ts';
import type { Discovery } from '#lib/discovery/discovery.ts';
import { openDiscovery } from '#lib/discovery/open.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import { type EtcdServer, startEtcdCluster } from '#tests/support/etcd.ts';
import { NO_ETCD } from '#tests/support/etcd-binary.ts';
import { skip } from '#tests/support/skip.ts';
import { until } from '#tests/support/until.ts';

const RECOVERY_MS = 45_000;

describe('etcd discovery in a cluster of three', function () {
  this.timeout(120_000);
  let members: readonly EtcdServer[] = [];
  const opened: Discovery[] = [];

  before(async function () {
    members = (await startEtcdCluster(3)) ?? skip(this, NO_ETCD);
  });
  after(async () => {
    for (const discovery of opened.splice(0)) await discovery.close();
    await Promise.all(members.map((member) => member.stop()));
  });

  async function open(servers: readonly EtcdServer[]): Promise<{ discovery: Discovery; telemetry: Telemetry }> {
    const telemetry = quietTelemetry();
    const url = `etcd:${servers.map((server) => server.endpoint).join(',')}`;
    const discovery = await openDiscovery(url, { namespace: 'cluster', ttlSeconds: 3, telemetry });
    opened.push(discovery);
    return { discovery, telemetry };
  }

  it('survives members one by one, and notices a member that lost its quorum', async () => {
    const [first, second, third] = members;
    assert.isDefined(first);
    assert.isDefined(second);
    assert.isDefined(third);
    const owner = await open(members);
    const anywhere = await open(members);
    const pinned = await open([third]);
    const views = [new Recorder(), new Recorder()];
    await anywhere.discovery.watch(undefined, views[0]).synced;
    await pinned.discovery.watch(undefined, views[1]).synced;
    const registration = await owner.discovery.register(testInstance(1n));
    const all = (state: InstanceState) => views.every((view) => view.up.get(1n)?.state === state);
    await until('up', () => all(InstanceState.READY));

    await first.kill();
    await registration.update(testInstance(1n, { state: InstanceState.DRAINING }));
    await until('an update without the first member', () => all(InstanceState.DRAINING), RECOVERY_MS);

    await second.kill();
    // The third still answers from its own memory. `hasleader` makes it end the watch; the comparison would find out later.
    await until('the lost quorum is noticed', async () => (await connected(pinned.telemetry)) === 0, RECOVERY_MS);
    assert.isTrue(all(InstanceState.DRAINING), 'the view stays');

    await Promise.all([first.restart(), second.restart()]);
    await registration.update(testInstance(1n, { state: InstanceState.READY }));
    await until('the whole cluster again', () => all(InstanceState.READY), RECOVERY_MS);
    for (const view of views) assert.deepEqual(view.violations, []);
  });
});

async function connected(telemetry: Telemetry): Promise<number | undefined> {
  const gauge = await telemetry.metrics.getSingleMetric('stator_discovery_connected')?.get();
  return gauge?.values[0]?.value;
}
