import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { assert } from 'chai';
import type { Etcd3 } from 'etcd3';
import { runStator } from '#cli/stator.test-support.ts';
import { startHarness } from '#gateway/testing/harness.ts';
import { Recorder, testInstance } from '#lib/discovery/conformance-support.ts';
import type { Discovery } from '#lib/discovery/discovery.ts';
import { type DiscoveryOptions, openDiscovery } from '#lib/discovery/open.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { type EtcdServer, startEtcd } from '#tests/support/etcd.ts';
import { NO_ETCD } from '#tests/support/etcd-binary.ts';
import { skip } from '#tests/support/skip.ts';
import { until } from '#tests/support/until.ts';

const PASSWORD = 'correct horse';

describe('etcd discovery: access', function () {
  this.timeout(180_000);
  const opened: Discovery[] = [];

  afterEach(async () => {
    for (const discovery of opened.splice(0)) await discovery.close();
  });

  async function open(url: string, etcd: DiscoveryOptions['etcd'] = {}): Promise<Discovery> {
    const discovery = await openDiscovery(url, {
      namespace: 'access',
      ttlSeconds: 2,
      telemetry: quietTelemetry(),
      etcd,
    });
    opened.push(discovery);
    return discovery;
  }

  async function meets(owner: Discovery, observer: Discovery): Promise<void> {
    const recorder = new Recorder();
    observer.watch(undefined, recorder);
    await owner.register(testInstance(1n));
    await until('up', () => recorder.up.size === 1);
  }

  describe('with users', () => {
    let server: EtcdServer;

    before(async function () {
      server = (await startEtcd()) ?? skip(this, NO_ETCD);
      await enableUsers(server.client);
    });
    after(async () => server?.stop());

    it('works with the right password, also after etcd forgot its sessions', async () => {
      const owner = await open(server.discoveryUrl, { username: 'stator', password: PASSWORD });
      const observer = await open(server.discoveryUrl, { username: 'stator', password: PASSWORD });
      const recorder = new Recorder();
      observer.watch(undefined, recorder);
      const registration = await owner.register(testInstance(1n));
      await until('up', () => recorder.up.size === 1);
      await server.restart();
      await registration.update(testInstance(1n, { name: 'after the restart' }));
      await until('the update', () => recorder.up.get(1n)?.name === 'after the restart');
      await registration.withdraw();
      await until('down', () => recorder.up.size === 0);
      assert.deepEqual(recorder.violations, []);
    });

    it('says so when the password is wrong, missing, or not enough', async () => {
      const wrong = await open(server.discoveryUrl, { username: 'stator', password: 'guess' });
      await rejects(wrong.register(testInstance(1n)), 'unauthenticated');
      const none = await open(server.discoveryUrl);
      await rejects(none.register(testInstance(1n)), 'unauthenticated');
      const outsider = await open(server.discoveryUrl, { username: 'outsider', password: PASSWORD });
      await rejects(outsider.register(testInstance(1n)), 'permission_denied');
    });
  });

  describe('of API keys', () => {
    let server: EtcdServer;

    before(async function () {
      server = (await startEtcd()) ?? skip(this, NO_ETCD);
      await enableUsers(server.client);
    });
    after(async () => server?.stop());

    it('is for the user of discovery, by command and by gateway', async () => {
      const place = ['--api-keys-store', 'discovery:', '--discovery', server.discoveryUrl];
      const keys = (command: string, user: string, ...args: string[]) =>
        runStator(['keys', command, ...place, '--etcd-username', user, '--etcd-password', PASSWORD, ...args]);
      const created = await keys('create', 'stator', '--id', 'ci');
      assert.match(created.stdout, /^sk-stator-/, created.stderr);
      const second = await keys('rotate', 'stator', '--id', 'ci', '--keep-old-seconds', '0');
      assert.match(second.stdout, /^sk-stator-/, second.stderr);
      assert.deepEqual(JSON.parse((await keys('list', 'stator', '--json')).stdout), [{ id: 'ci' }]);
      assert.include((await keys('list', 'outsider')).stderr, 'refuses the user');
      const config = { apiKeysStore: server.discoveryUrl, etcdPassword: PASSWORD };
      await using gateway = await startHarness({ ...config, etcdUsername: 'stator' });
      const statusOf = async (key: string): Promise<number> => {
        const response = await fetch(`${gateway.url}/v1/models`, { headers: { 'x-api-key': key.trim() } });
        await response.arrayBuffer();
        return response.status;
      };
      assert.deepEqual([await statusOf(created.stdout), await statusOf(second.stdout)], [401, 200]);
      await rejects(startHarness({ ...config, etcdUsername: 'outsider' }), 'permission_denied');
      await rejects(startHarness({ ...config, etcdUsername: 'stator', etcdPassword: 'guess' }), 'unauthenticated');
      assert.equal((await keys('revoke', 'stator', '--id', 'ci')).code, 0);
      await until('it is refused', async () => (await statusOf(second.stdout)) === 401);
    });
  });

  describe('with TLS', () => {
    let server: EtcdServer;
    let directory: string;

    before(async function () {
      server = (await startEtcd({ autoTls: true })) ?? skip(this, NO_ETCD);
      directory = await mkdtemp(path.join(tmpdir(), 'stator-etcd-tls-'));
    });
    after(async () => {
      await server?.stop();
      if (directory !== undefined) await rm(directory, { recursive: true });
    });

    it('trusts the authority of the options, and of the URL', async () => {
      const address = new URL(server.endpoint).host;
      const owner = await open(`etcds:${address}`, { caFile: server.caFile ?? '' });
      await meets(owner, await open(`etcd:${server.endpoint}?ca=${encodeURIComponent(server.caFile ?? '')}`));
    });

    it('does not connect to a server whose certificate it cannot check', async () => {
      const telemetry = quietTelemetry();
      const discovery = await openDiscovery(server.discoveryUrl, { namespace: 'access', ttlSeconds: 2, telemetry });
      opened.push(discovery);
      const watch = discovery.watch(undefined);
      await until('it tried', async () => {
        const gauge = await telemetry.metrics.getSingleMetric('stator_discovery_connected')?.get();
        return gauge?.values[0]?.value === 0;
      });
      assert.equal(watch.instances().size, 0);
      await discovery.close();
      await rejects(watch.synced, 'cancelled');
    });

    it('names a TLS file that cannot be read', async () => {
      await rejects(open(server.discoveryUrl, { caFile: path.join(directory, 'none.pem') }), 'invalid_argument');
      const file = path.join(directory, 'cert.pem');
      await writeFile(file, 'x');
      await rejects(open(server.discoveryUrl, { certFile: file }), 'invalid_argument');
    });
  });
});

async function enableUsers(client: Etcd3): Promise<void> {
  await client.role('root').create();
  const root = await client.user('root').create(PASSWORD);
  await root.addRole('root');
  const role = await client.role('stator').create();
  await role.grant({ permission: 'Readwrite', range: client.range({ prefix: '/stator/' }) });
  const user = await client.user('stator').create(PASSWORD);
  await user.addRole('stator');
  await client.user('outsider').create(PASSWORD);
  await client.auth.authEnable();
}

async function rejects(promise: Promise<unknown>, code: string): Promise<void> {
  const error = await promise.then(
    () => assert.fail(`expected ${code}`),
    (thrown: unknown) => thrown,
  );
  assert.instanceOf(error, StatorError);
  assert.equal(error.code, code);
  assert.notInclude(`${error.stack} ${String(error.cause)}`, PASSWORD);
}
