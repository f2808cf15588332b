import { createHash } from 'node:crypto';
import { expect } from 'chai';
import { type KeyEntry, rotated } from '#gateway/tenants/key-entry.ts';
import { type Harness, startHarness } from '#gateway/testing/harness.ts';
import { answering, ScriptedWorker } from '#gateway/testing/scripted-worker.ts';
import { until } from '#tests/support/until.ts';
import { type KeysPlace, keyPlaces, textOf } from './key-places.ts';

const hashOf = (key: string): string => `sha256:${createHash('sha256').update(key).digest('hex')}`;

for (const [name, open] of Object.entries(keyPlaces)) describeKeys(name, open);

/** What every place of keys does. */
function describeKeys(name: string, openPlace: (context: Mocha.Context) => Promise<KeysPlace>): void {
  describe(`API keys in ${name}`, function () {
    this.timeout(60_000);
    let place: KeysPlace;

    before(async function () {
      place = await openPlace(this);
    });
    after(async () => place?.dispose());

    async function startGateway(): Promise<Harness> {
      const gateway = await startHarness({ ...place.config, apiKeysReloadSeconds: 0.05 });
      gateway.addWorker(1n, new ScriptedWorker(answering('Yes')));
      return gateway;
    }

    async function statusOf(gateway: Harness, key: string): Promise<number> {
      const response = await fetch(`${gateway.url}/v1/models`, { headers: { authorization: `Bearer ${key}` } });
      await response.arrayBuffer();
      return response.status;
    }

    const gives = (gateway: Harness, key: string, status: number): Promise<boolean> =>
      until(`${key} gives ${status}`, async () => (await statusOf(gateway, key)) === status);

    const isStale = async (gateway: Harness): Promise<boolean> =>
      (await (await fetch(`${gateway.url}/health`)).text()).includes('stale_keys');

    async function listed(): Promise<{ entries: readonly KeyEntry[]; refused: string[] }> {
      const refused: string[] = [];
      const entries = await place.book.list((id) => void refused.push(id));
      return { entries, refused };
    }

    it('let callers in, are replaced and taken away while two gateways run', async () => {
      await using first = await startGateway();
      await using second = await startGateway();
      const everywhere = async (key: string, status: number): Promise<void> => {
        await gives(first, key, status);
        await gives(second, key, status);
      };
      expect(await statusOf(first, 'topsecret-1'), 'no key is no open door').to.equal(401);
      await place.book.add({ id: 'ci', hash: hashOf('topsecret-1'), requests_per_minute: 600 });
      await everywhere('topsecret-1', 200);
      await place.book.change('ci', (entry) => rotated(entry, hashOf('topsecret-2'), 3_600_000));
      await everywhere('topsecret-2', 200);
      await everywhere('topsecret-1', 200);
      await place.book.change('ci', (entry) => rotated(entry, hashOf('topsecret-3'), 0));
      await everywhere('topsecret-3', 200);
      for (const old of ['topsecret-1', 'topsecret-2']) await everywhere(old, 401);
      await place.book.change('ci', (entry) => ({ ...entry, disabled: true }));
      await everywhere('topsecret-3', 401);
      await place.book.remove('ci');
      expect(await listed()).to.deep.equal({ entries: [], refused: [] });
    });

    it('are there once by their id, whoever adds them', async () => {
      await place.book.add({ id: 'one', hash: hashOf('a') });
      const again = await place.book.add({ id: 'one', hash: hashOf('b') }).catch((error: unknown) => error);
      expect(again).to.include({ code: 'conflict' });
      for (const call of [place.book.remove('none'), place.book.change('none', (entry) => entry)])
        expect(await call.catch((error: unknown) => error)).to.include({ code: 'not_found' });
      expect((await listed()).entries).to.deep.equal([{ id: 'one', hash: hashOf('a') }]);
      await place.book.remove('one');
    });

    it('are not in it themselves', async () => {
      await place.book.add({ id: 'hidden', hash: hashOf('topsecret-hidden') });
      if (place.records !== null)
        expect(await place.records.read('hidden'))
          .to.contain('sha256:')
          .and.not.to.contain('topsecret');
      for (const file of place.files) expect(await textOf(file), file).not.to.contain('topsecret');
      await place.book.remove('hidden');
    });

    // A file is one document, and one person's to edit.
    if (name === 'a file') return;

    it('lose no change where several are made at once', async () => {
      await place.book.add({ id: 'busy', hash: hashOf('busy'), max_priority: 0 });
      const one = (entry: KeyEntry): KeyEntry => ({ ...entry, max_priority: (entry.max_priority ?? 0) + 1 });
      await Promise.all(Array.from({ length: 5 }, () => place.book.change('busy', one)));
      expect((await listed()).entries).to.deep.equal([{ id: 'busy', hash: hashOf('busy'), max_priority: 5 }]);
      await place.book.remove('busy');
    });

    it('are left out one by one where they are no keys', async () => {
      const { records, book } = place;
      if (records === null) throw new Error('there are no records');
      await book.add({ id: 'good', hash: hashOf('good') });
      await book.add({ id: 'bad', hash: hashOf('bad') });
      await using gateway = await startGateway();
      expect([await statusOf(gateway, 'good'), await statusOf(gateway, 'bad')]).to.deep.equal([200, 200]);
      await records.write('bad', `{"id": "bad", "hash": "bad"}`);
      await records.write('other', 'no JSON');
      await records.write('thief', JSON.stringify({ id: 'thief', hash: hashOf('good'), tenant: 'thief' }));
      await gives(gateway, 'bad', 401);
      await until('all three are left out', () => gateway.context.access.tenants.counts.refused === 3);
      expect(await statusOf(gateway, 'good')).to.equal(200);
      expect(await isStale(gateway)).to.equal(true);
      const metrics = (await gateway.context.telemetry.metrics.metrics()).split('\n');
      expect(metrics).to.include('stator_gateway_api_keys_refused 3').and.to.include('stator_gateway_api_keys 1');
      await book.add({ id: 'later', hash: hashOf('later') });
      await gives(gateway, 'later', 200);
      // Gateways that start now do so without them.
      await using second = await startGateway();
      expect([await statusOf(second, 'good'), await statusOf(second, 'bad')]).to.deep.equal([200, 401]);
      const { entries, refused } = await listed();
      expect(entries.map(({ id }) => id)).to.include.members(['good', 'later', 'thief']);
      expect(refused).to.deep.equal(['bad', 'other']);
      expect(await book.change('bad', (entry) => entry).catch((error: unknown) => error)).to.include({
        code: 'invalid_argument',
      });
      for (const id of ['bad', 'other', 'thief', 'good', 'later']) await book.remove(id);
      await until('nothing is left out', async () => !(await isStale(gateway)));
      await gives(gateway, 'good', 401);
    });

    // A file has no server that could crash.
    if (name === 'SQLite in a file') return;

    it('stay in force as they were when they cannot be read', async () => {
      const { server, book } = place;
      if (server === undefined) throw new Error('there is no server');
      await book.add({ id: 'kept', hash: hashOf('kept') });
      await using gateway = await startGateway();
      await server.kill();
      await until('the gateway says so', () => isStale(gateway));
      expect(await statusOf(gateway, 'kept')).to.equal(200);
      expect(await statusOf(gateway, 'guessed')).to.equal(401);
      await server.start();
      await until('it reads them again', async () => !(await isStale(gateway)));
      await until('they can be taken away', async () => {
        await book.remove('kept').catch(() => {});
        return (await statusOf(gateway, 'kept')) === 401;
      });
    });
  });
}
