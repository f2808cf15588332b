import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { rotated } from '#gateway/tenants/key-entry.ts';
import { StoredKeys } from '#gateway/tenants/stored-keys.ts';
import { type Harness, startHarness } from '#gateway/testing/harness.ts';
import { answering, ScriptedWorker } from '#gateway/testing/scripted-worker.ts';
import { openStore } from '#lib/store/open.ts';
import type { Store } from '#lib/store/store.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { until } from '#tests/support/until.ts';
import { type Place, places } from './places.ts';

const hashOf = (key: string): string => `sha256:${createHash('sha256').update(key).digest('hex')}`;

for (const [name, open] of Object.entries(places)) {
  if (name !== 'SQLite in memory') describeKeys(name, open);
}

function describeKeys(name: string, openPlace: (context: Mocha.Context) => Promise<Place>): void {
  describe(`API keys in a store: ${name}`, function () {
    this.timeout(60_000);
    let place: Place;
    let store: Store;
    let keys: StoredKeys;

    before(async function () {
      place = await openPlace(this);
      store = await openStore(place.url, { telemetry: quietTelemetry(), maxBytes: 1024 ** 3 });
      keys = new StoredKeys(store);
    });

    after(async () => {
      await store?.close();
      await place?.dispose();
    });

    async function startGateway(): Promise<Harness> {
      const gateway = await startHarness({ apiKeysStore: place.url, apiKeysReloadSeconds: 0.05 });
      gateway.addWorker(1n, new ScriptedWorker(answering('Yes')));
      return gateway;
    }

    async function statusOf(gateway: Harness, key: string): Promise<number> {
      const response = await fetch(`${gateway.url}/v1/models`, { headers: { authorization: `Bearer ${key}` } });
      await response.arrayBuffer();
      return response.status;
    }

    it('let callers in, are replaced and taken away while two gateways run', async () => {
      await using first = await startGateway();
      await using second = await startGateway();
      const everywhere = (key: string, status: number): Promise<boolean> =>
        until(`${key} gives ${status} everywhere`, async () => {
          const statuses = [await statusOf(first, key), await statusOf(second, key)];
          return statuses.every((one) => one === status);
        });
      expect(await statusOf(first, 'topsecret-1'), 'no key is no open door').to.equal(401);
      await keys.add({ id: 'ci', hash: hashOf('topsecret-1'), requests_per_minute: 600 });
      await everywhere('topsecret-1', 200);
      await keys.change('ci', (entry) => rotated(entry, hashOf('topsecret-2'), 3_600_000));
      await everywhere('topsecret-2', 200);
      await everywhere('topsecret-1', 200);
      await keys.change('ci', (entry) => rotated(entry, hashOf('topsecret-3'), 0));
      await everywhere('topsecret-3', 200);
      for (const old of ['topsecret-1', 'topsecret-2']) await everywhere(old, 401);
      await keys.change('ci', (entry) => ({ ...entry, disabled: true }));
      await everywhere('topsecret-3', 401);
      await keys.remove('ci');
      expect(await keys.list()).to.deep.equal([]);
    });

    it('are there once by their id, whoever adds them', async () => {
      await keys.add({ id: 'one', hash: hashOf('a') });
      const again = await keys.add({ id: 'one', hash: hashOf('b') }).catch((error: unknown) => error);
      expect(again).to.include({ code: 'conflict' });
      const missing = await keys.remove('none').catch((error: unknown) => error);
      expect(missing).to.include({ code: 'not_found' });
      await keys.remove('one');
    });

    it('are not in it themselves', async () => {
      await keys.add({ id: 'hidden', hash: hashOf('topsecret-hidden') });
      const found = await store.get('api-keys', 'hidden');
      expect(Buffer.from(found?.value ?? []).toString())
        .to.contain('sha256:')
        .and.not.to.contain('topsecret');
      if (place.url.startsWith('sqlite:')) {
        const file = place.url.slice('sqlite:'.length);
        for (const one of [file, `${file}-wal`]) expect(readFileSync(one).includes('topsecret'), one).to.equal(false);
      }
    });

    // A file has no server that could crash.
    if (name === 'SQLite in a file') return;

    it('stay in force as they were when the store cannot be read', async () => {
      const { server } = place;
      if (server === undefined) throw new Error('there is no server');
      await keys.add({ id: 'kept', hash: hashOf('kept') });
      await using gateway = await startGateway();
      const health = async (): Promise<string> => (await fetch(`${gateway.url}/health`)).text();
      await server.kill();
      await until('the gateway says so', async () => (await health()).includes('stale_keys'));
      expect(await statusOf(gateway, 'kept')).to.equal(200);
      expect(await statusOf(gateway, 'guessed')).to.equal(401);
      await server.start();
      await until('it reads them again', async () => !(await health()).includes('stale_keys'));
      await until('they can be taken away', async () => {
        await keys.remove('kept').catch(() => {});
        return (await statusOf(gateway, 'kept')) === 401;
      });
    });
  });
}
