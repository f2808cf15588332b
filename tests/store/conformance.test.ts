import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import type { Context } from 'mocha';
import { StatorError } from '#lib/errors/errors.ts';
import { openStore } from '#lib/store/open.ts';
import type { Store } from '#lib/store/store.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import { findPostgres, type PostgresServer, startPostgres } from '#tests/support/postgres.ts';
import { findRedis, noRedis, startRedis } from '#tests/support/redis.ts';
import { skip } from '#tests/support/skip.ts';
import { until } from '#tests/support/until.ts';
import { noPostgres, type Place, places } from './places.ts';

const bytes = (text: string): Uint8Array => Buffer.from(text);
const text = (value: Uint8Array | undefined): string => Buffer.from(value ?? []).toString();

async function codeOf(call: Promise<unknown>): Promise<string> {
  const error = await call.then(
    () => null,
    (thrown: unknown) => StatorError.from(thrown),
  );
  return error?.code ?? 'ok';
}

for (const [name, open] of Object.entries(places)) describeStore(name, open);

function describeStore(name: string, openPlace: (context: Context) => Promise<Place>): void {
  describe(`store: ${name}`, function () {
    this.timeout(60_000);
    let place: Place;
    let store: Store;
    /** Another gateway's; the same where the place cannot be shared. */
    let other: Store;
    let telemetry: Telemetry;
    let nowMs = 1_800_000_000_000;
    const now = (): number => nowMs;

    before(async function () {
      place = await openPlace(this);
      telemetry = quietTelemetry();
      const options = { telemetry, maxBytes: 64 * 1024 ** 2, maxDocumentBytes: 2 * 1024 ** 2, now, sweepMs: 20 };
      // Both migrate at once.
      const opened = await Promise.all([openStore(place.url, options), openStore(place.url, options)]);
      store = opened[0];
      other = place.shared ? opened[1] : store;
    });

    after(async () => {
      await store?.close();
      await other?.close();
      await place?.dispose();
    });

    it('gives back what was put, bytes of any kind included', async () => {
      const value = Uint8Array.from({ length: 1024 ** 2 }, (_, index) => (index * 7919) & 0xff);
      const version = await store.put('a', 'bytes', value);
      const got = await other.get('a', 'bytes');
      expect(got).to.include({ key: 'bytes', version, expiresUnixMs: null });
      expect(Buffer.compare(Buffer.from(got?.value ?? []), Buffer.from(value))).to.equal(0);
      await store.put('a', 'empty', bytes(''));
      expect((await store.get('a', 'empty'))?.value).to.have.length(0);
      expect(await store.get('b', 'bytes'), 'another collection').to.equal(null);
      expect(await store.delete('a', 'bytes')).to.equal(true);
      expect(await store.delete('a', 'bytes')).to.equal(false);
      expect(await other.get('a', 'bytes')).to.equal(null);
    });

    it('writes over the version that was read, or not at all', async () => {
      const first = await store.put('v', 'k', bytes('1'), { ifVersion: 0 });
      expect(await codeOf(other.put('v', 'k', bytes('x'), { ifVersion: 0 }))).to.equal('conflict');
      const second = await other.put('v', 'k', bytes('2'), { ifVersion: first });
      expect(second).to.be.greaterThan(first);
      expect(await codeOf(store.put('v', 'k', bytes('x'), { ifVersion: first }))).to.equal('conflict');
      expect(await store.delete('v', 'k', { ifVersion: first })).to.equal(false);
      expect(text((await store.get('v', 'k'))?.value)).to.equal('2');
      expect(await store.delete('v', 'k', { ifVersion: second })).to.equal(true);
      nowMs += 1;
      const again = await store.put('v', 'k', bytes('3'), { ifVersion: 0 });
      expect(again, 'a key that comes back has no old version').to.be.greaterThan(second);
      expect(await codeOf(store.put('v', 'none', bytes('x'), { ifVersion: 5 }))).to.equal('conflict');
    });

    it('lets exactly one of many win', async () => {
      const stores = Array.from({ length: 40 }, (_, index) => (index % 2 === 0 ? store : other));
      const creates = await Promise.all(
        stores.map((one) => codeOf(one.put('race', 'k', bytes('x'), { ifVersion: 0 }))),
      );
      expect(creates.filter((code) => code === 'ok')).to.have.length(1);
      const version = (await store.get('race', 'k'))?.version ?? 0;
      const updates = await Promise.all(
        stores.map((one, index) => codeOf(one.put('race', 'k', bytes(String(index)), { ifVersion: version }))),
      );
      expect(updates.filter((code) => code === 'ok')).to.have.length(1);
    });

    it('forgets what expired, and deletes it', async () => {
      await store.put('e', 'soon', bytes('x'), { expiresUnixMs: nowMs + 1000 });
      await store.put('e', 'later', bytes('x'), { expiresUnixMs: nowMs + 100_000 });
      nowMs += 999;
      expect((await other.get('e', 'soon'))?.expiresUnixMs).to.equal(nowMs + 1);
      nowMs += 1;
      expect(await other.get('e', 'soon')).to.equal(null);
      expect((await other.list('e', { limit: 10 })).map(({ key }) => key)).to.deep.equal(['later']);
      expect(await store.delete('e', 'soon')).to.equal(false);
      expect(await codeOf(store.put('e', 'soon', bytes('y'), { ifVersion: 0 }))).to.equal('ok');
      await store.put('e', 'gone', bytes('x'), { expiresUnixMs: nowMs - 1 });
      await until('the sweep has deleted it', async () => {
        const page = await telemetry.metrics.metrics();
        return Number(/^stator_store_expired_total (\d+)/m.exec(page)?.[1] ?? 0) > 0;
      });
    });

    it('lists keys by their bytes, in pages, both ways', async () => {
      const keys = ['Z', 'a', 'a-1', 'a/1', 'a1', 'aB', 'ab', 'b', '~'];
      await Promise.all(keys.map((key) => store.put('l', key, bytes(key))));
      const listed = async (o: object): Promise<string> =>
        (await other.list('l', { limit: 100, ...o }))
          .map(({ key, value }) => (text(value) === key ? key : '?'))
          .join(' ');
      expect(await listed({})).to.equal('Z a a-1 a/1 a1 aB ab b ~');
      expect(await listed({ order: 'desc' })).to.equal('~ b ab aB a1 a/1 a-1 a Z');
      expect(await listed({ prefix: 'a' })).to.equal('a a-1 a/1 a1 aB ab');
      expect(await listed({ prefix: 'a', after: 'a-1', limit: 2 })).to.equal('a/1 a1');
      expect(await listed({ prefix: 'a', after: 'a1', limit: 2, order: 'desc' })).to.equal('a/1 a-1');
      expect(await listed({ after: '~' })).to.equal('');
      expect(await store.deletePrefix('l', 'a')).to.equal(6);
      expect(await listed({})).to.equal('Z b ~');
    });

    it('counts in windows, up to a limit, without losing any', async () => {
      nowMs = 1_800_000_060_000;
      const window = { windowMs: 60_000, limit: 100 };
      const calls = Array.from({ length: 60 }, (_, index) => (index % 2 === 0 ? store : other).count('c', 3, window));
      const counted = await Promise.all(calls);
      expect(counted.filter(({ allowed }) => allowed)).to.have.length(33);
      expect(await store.count('c', 1, window)).to.deep.equal({
        allowed: true,
        used: 100,
        resetUnixMs: 1_800_000_120_000,
      });
      expect(await other.count('c', 1, window)).to.include({ allowed: false, used: 100 });
      expect(await store.count('c', -30, window)).to.include({ allowed: true, used: 70 });
      expect(await store.count('c', 101, window)).to.include({ allowed: false, used: 70 });
      nowMs += 60_000;
      expect(await store.count('c', 7, window)).to.include({ allowed: true, used: 7 });
      nowMs -= 1;
      expect(await other.count('c', 1, window), "the window of another's clock").to.include({ used: 8 });
      expect(await store.count('other', 1, { windowMs: 1000 })).to.include({ used: 1 });
    });

    it('refuses what cannot be stored', async () => {
      expect(await codeOf(store.get('', 'k'))).to.equal('invalid_argument');
      expect(await codeOf(store.get('a', 'ü'))).to.equal('invalid_argument');
      expect(await codeOf(store.get('a', 'x'.repeat(257)))).to.equal('invalid_argument');
      expect(await codeOf(store.put('a', 'k', new Uint8Array(2 * 1024 ** 2 + 1)))).to.equal('invalid_argument');
      expect(await codeOf(store.put('a', 'k', bytes(''), { ifVersion: -1 }))).to.equal('invalid_argument');
      expect(await codeOf(store.list('a', { limit: 0 }))).to.equal('invalid_argument');
      expect(await codeOf(store.count('c', 0.5, { windowMs: 1 }))).to.equal('invalid_argument');
      expect(await codeOf(store.count('c', 1, { windowMs: 0 }))).to.equal('invalid_argument');
    });

    it('is bounded', async () => {
      const small = await openStore(place.url, { telemetry, maxBytes: 1, now });
      expect(await codeOf(small.put('a', 'k', bytes('x')))).to.equal('storage_unavailable');
      expect(await codeOf(small.get('a', 'k'))).to.equal('ok');
      await small.close();
      await small.close();
      expect(await codeOf(small.get('a', 'k'))).to.equal('storage_unavailable');
    });
  });
}

describe('store: faults', function () {
  this.timeout(60_000);
  const telemetry = quietTelemetry();

  it('refuses URLs that it does not know, and databases that it cannot open', async () => {
    const options = { telemetry, maxBytes: 1024 ** 3 };
    expect(await codeOf(openStore('mysql://localhost', options))).to.equal('invalid_argument');
    expect(await codeOf(openStore('redis://:x', options))).to.equal('invalid_argument');
    expect(await codeOf(openStore('redis://127.0.0.1:1/0', options))).to.equal('storage_unavailable');
    expect(await codeOf(openStore('sqlite:', options))).to.equal('invalid_argument');
    expect(await codeOf(openStore('sqlite:/dev/null/none/store.db', options))).to.equal('storage_unavailable');
    expect(await codeOf(openStore('postgres://127.0.0.1:1/none', options))).to.equal('storage_unavailable');
  });

  it('refuses a file that a newer release has changed', async () => {
    const { DatabaseSync } = await import('node:sqlite');
    const folder = await mkdtemp(path.join(tmpdir(), 'stator-store-'));
    const file = path.join(folder, 'store.db');
    const db = new DatabaseSync(file);
    db.exec('PRAGMA user_version = 1000');
    db.close();
    const error = await openStore(`sqlite:${file}`, { telemetry, maxBytes: 1 }).catch((thrown: unknown) => thrown);
    expect((error as Error).message).to.contain('version 1000');
    await rm(folder, { recursive: true });
  });

  it('keeps what was written when PostgreSQL crashes, and works again with it', async function () {
    const server: PostgresServer = await startPostgres(findPostgres() ?? skip(this, noPostgres));
    const store = await openStore(server.url, { telemetry, maxBytes: 1024 ** 3 });
    try {
      await store.put('a', 'k', bytes('kept'));
      await server.kill();
      expect(await codeOf(store.get('a', 'k'))).to.equal('storage_unavailable');
      await server.start();
      await until('a connection is made again', async () => (await codeOf(store.get('a', 'k'))) === 'ok');
      expect(text((await store.get('a', 'k'))?.value)).to.equal('kept');
    } finally {
      await store.close();
      await server.dispose();
    }
  });

  it('keeps what was written when Redis crashes, and works again with it', async function () {
    const server = await startRedis(findRedis() ?? skip(this, noRedis));
    const store = await openStore(server.url, { telemetry, maxBytes: 1024 ** 3 });
    try {
      await store.put('a', 'k', bytes('kept'));
      await server.kill();
      expect(await codeOf(store.get('a', 'k'))).to.equal('storage_unavailable');
      await server.start();
      await until('the connection is made again', async () => (await codeOf(store.get('a', 'k'))) === 'ok');
      expect(text((await store.get('a', 'k'))?.value)).to.equal('kept');
      expect(await store.put('a', 'other', bytes('x')), 'scripts are sent again').to.be.above(0);
    } finally {
      await store.close();
      await server.dispose();
    }
  });
});
