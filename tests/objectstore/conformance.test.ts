import { assert } from 'chai';
import type { ObjectStore } from '#lib/objectstore/store.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import { openFiles } from '#tests/support/proc.ts';
import { skip } from '#tests/support/skip.ts';
import { until } from '#tests/support/until.ts';
import { type Place, type PlaceName, places } from './backends.ts';
import { chunksOf, digest, failure, metric, random } from './support.ts';

const MIB = 1024 ** 2;

for (const name of Object.keys(places) as PlaceName[]) describeStore(name);

/** What every back end of the object store does alike. */
function describeStore(name: PlaceName): void {
  describe(`object store: ${name}`, function () {
    this.timeout(240_000);
    let place: Place;
    let store: ObjectStore;
    let telemetry: Telemetry;

    before(async function () {
      place = await places[name](this);
      ({ store, telemetry } = await place.open('one/two'));
    });
    after(async () => {
      await store?.close();
      await place?.dispose();
    });

    it('gives back what was put, with metadata, whole and into a buffer', async () => {
      for (const size of [0, 1, 65_537, 3 * MIB + 5]) {
        const body = random(size);
        await store.put(`put/${size}`, body, { metadata: { model: 'a b', layout_1: '{"x":[1,2]}' } });
        const got = await store.get(`put/${size}`);
        assert.equal(digest(got.bytes), digest(body));
        assert.deepEqual(got.info.metadata, { model: 'a b', layout_1: '{"x":[1,2]}' });
        assert.isDefined(got.info.crc32);
        const into = new Uint8Array(size + 10).fill(7);
        const { bytes } = await store.get(`put/${size}`, { into });
        assert.equal(bytes.buffer, into.buffer);
        assert.equal(digest(bytes), digest(body));
        assert.isTrue(into.subarray(size).every((byte) => byte === 7));
        const head = await store.head(`put/${size}`);
        assert.deepEqual({ ...head, modifiedMs: 0 }, { ...got.info, modifiedMs: 0 });
        assert.equal(head.size, size);
        assert.closeTo(head.modifiedMs, Date.now(), 60_000);
      }
      assert.isAbove(await metric(telemetry, 'bytes_total', { direction: 'in' }), 6 * MIB);
      assert.equal(await metric(telemetry, 'requests_total', { op: 'put', outcome: 'ok' }), 4);
    });

    it('replaces an object, and keeps it where asked to', async () => {
      await store.put('twice', Buffer.from('one'));
      const first = await store.head('twice');
      await store.put('twice', Buffer.from('two'));
      assert.equal(Buffer.from((await store.get('twice')).bytes).toString(), 'two');
      assert.notEqual((await store.head('twice')).etag, first.etag);
      const refused = await failure(store.put('twice', Buffer.from('three'), { ifNoneMatch: true }));
      assert.equal(refused.code, 'conflict');
      assert.equal(Buffer.from((await store.get('twice')).bytes).toString(), 'two');
    });

    it('lets exactly one of many create an object', async () => {
      const bodies = Array.from({ length: 12 }, (_, index) => Buffer.from(`writer ${index}`));
      const puts = bodies.map((body) => store.put('race', body, { ifNoneMatch: true }));
      const outcomes = await Promise.allSettled(puts);
      const winners = outcomes.flatMap((outcome, index) => (outcome.status === 'fulfilled' ? [index] : []));
      assert.lengthOf(winners, 1);
      assert.equal(Buffer.from((await store.get('race')).bytes).toString(), `writer ${winners[0]}`);
    });

    it('uploads streams in parts, visible only when complete', async () => {
      const { store: small, telemetry: own } = await place.open('one/two', { objectStorePartMib: 5 });
      const body = random(16 * MIB + 3);
      let seen = 'nothing';
      async function* watched() {
        for await (const chunk of chunksOf(body)) yield chunk;
        seen = await failure(small.head('stream')).then(({ code }) => code);
      }
      const size = await small.putStream('stream', watched(), { metadata: { kind: 'stream' }, ifNoneMatch: true });
      assert.equal(size, body.length);
      assert.equal(seen, 'not_found');
      assert.equal(await metric(own, 'requests_total', { op: 'part', outcome: 'ok' }), 4);
      const got = await small.get('stream');
      assert.equal(digest(got.bytes), digest(body));
      assert.equal(got.info.metadata['kind'], 'stream');
      const again = small.putStream('stream', chunksOf(random(10)), { ifNoneMatch: true });
      assert.equal((await failure(again)).code, 'conflict');
      assert.equal((await small.get('stream')).info.size, body.length);
      await small.putStream('empty-stream', chunksOf(Buffer.alloc(0)));
      assert.equal((await small.head('empty-stream')).size, 0);
      await small.close();
    });

    it('leaves nothing of a stream whose source fails or is cancelled', async () => {
      const broken = async function* () {
        yield random(6 * MIB);
        throw new Error('the source broke');
      };
      assert.include((await failure(store.putStream('broken', broken()))).message, 'the source broke');
      const controller = new AbortController();
      const silent = async function* () {
        yield random(9 * MIB);
        controller.abort();
        await new Promise<never>(() => {});
      };
      const { signal } = controller;
      assert.equal((await failure(store.putStream('silent', silent(), { signal }))).code, 'cancelled');
      for (const key of ['broken', 'silent']) assert.equal((await failure(store.head(key))).code, 'not_found');
    });

    it('reads a whole object into several buffers', async () => {
      const body = random(MIB + 7);
      await store.put('scattered', body);
      const all = new Uint8Array(body.length + 5).fill(7);
      const parts = [all.subarray(0, 4096), all.subarray(4096, 4096), all.subarray(4096, 4099), all.subarray(4099)];
      const info = await store.getInto('scattered', parts);
      assert.equal(info.size, body.length);
      assert.equal(digest(all.subarray(0, body.length)), digest(body));
      assert.isTrue(all.subarray(body.length).every((byte) => byte === 7));
      const error = await failure(store.getInto('scattered', [all.subarray(0, 100), all.subarray(200, 300)]));
      assert.equal(error.code, 'invalid_argument');
      assert.include(error.message, 'buffers of 200 bytes');
      assert.equal((await failure(store.getInto('nothing', [all]))).code, 'not_found');
    });

    it('streams an object in parts, and notices that it was replaced meanwhile', async () => {
      const { store: small } = await place.open('one/two', { objectStorePartMib: 5 });
      for (const body of [random(11 * MIB + 3), random(5 * MIB), Buffer.alloc(0)]) {
        await small.put('streamed', body);
        const parts: Uint8Array[] = [];
        for await (const part of small.getStream('streamed')) parts.push(part);
        assert.equal(digest(Buffer.concat(parts)), digest(body));
        assert.isAtMost(Math.max(0, ...parts.map(({ length }) => length)), 5 * MIB);
      }
      await small.put('streamed', random(21 * MIB));
      const reading = small.getStream('streamed');
      assert.equal((await reading.next()).done, false);
      await small.put('streamed', random(21 * MIB));
      const rest = (async () => {
        for await (const _ of reading);
      })();
      assert.equal((await failure(rest)).code, 'conflict');
      assert.equal((await failure(small.getStream('nothing').next())).code, 'not_found');
      const left = small.getStream('streamed');
      await left.next();
      await left.return({ ...(await small.head('streamed')) });
      await small.close();
    });

    it('names folders', async () => {
      for (const key of ['tree/a/x', 'tree/a/y/z', 'tree/b.c/x', 'tree/file', 'tree2/x'])
        await store.put(key, Buffer.from('x'));
      assert.deepEqual(await store.folders('tree/'), ['a', 'b.c']);
      assert.deepEqual(await store.folders('tree/a/'), ['y']);
      assert.deepEqual(await store.folders('tree/none/'), []);
      assert.includeMembers(await store.folders(''), ['tree', 'tree2']);
    });

    it('reads ranges into place', async () => {
      const body = random(2 * MIB);
      await store.put('ranges', body);
      for (const [offset, length] of [
        [0, 1],
        [0, body.length],
        [1_000_003, 65_536],
        [body.length - 1, 1],
        [5, 0],
      ] as const) {
        const into = new Uint8Array(length);
        const { bytes, info } = await store.get('ranges', { range: { offset, length }, into });
        assert.equal(digest(bytes), digest(body.subarray(offset, offset + length)));
        assert.equal(info.size, body.length);
      }
      const beyond = [
        { offset: body.length - 5, length: 6 },
        { offset: body.length, length: 1 },
        { offset: -1, length: 1 },
      ];
      for (const range of beyond)
        assert.equal((await failure(store.get('ranges', { range }))).code, 'invalid_argument', JSON.stringify(range));
      const tooSmall = await failure(store.get('ranges', { into: new Uint8Array(10) }));
      assert.equal(tooSmall.field, 'into');
    });

    it('says what is not there, and deletes it without complaint', async () => {
      assert.equal((await failure(store.get('absent'))).code, 'not_found');
      assert.equal((await failure(store.head('absent/too'))).code, 'not_found');
      await store.put('gone', Buffer.from('x'));
      await store.delete(['gone', 'absent', 'never/was']);
      await store.delete([]);
      assert.equal((await failure(store.head('gone'))).code, 'not_found');
    });

    it('lists thousands in pages and in order, within the prefix', async () => {
      const { store: other } = await place.open('one/two-more');
      // A busy machine takes long for thousands of requests, and for each that waits for all before it.
      const patient = {
        objectStoreMaxQueued: 5000,
        objectStoreTimeoutMs: 200_000,
        objectStoreAttemptTimeoutMs: 60_000,
      };
      const { store: filler } = await place.open('one/two', patient);
      // versitygw keeps objects as files of that name, so that `many` cannot be beside `many/…` there.
      const beside = name === 's3' ? ['many.b', 'many-a'] : ['many', 'many.b', 'many-a'];
      await other.put('many/outside', Buffer.from('x'));
      const keys = Array.from({ length: 1205 }, (_, index) => `many/${index % 7}/k${String(index).padStart(5, '0')}`);
      await Promise.all([...keys, ...beside].map((key) => filler.put(key, Buffer.from(key))));
      const listed = async (prefix: string, limit: number) => {
        const found: string[] = [];
        let pages = 0;
        for (let cursor: string | undefined, first = true; first || cursor !== undefined; first = false) {
          const page = await store.list({ prefix, limit, ...(cursor !== undefined && { cursor }) });
          found.push(...page.objects.map(({ key }) => key));
          cursor = page.cursor;
          pages += 1;
        }
        return { found, pages };
      };
      const all = await listed('many/', 500);
      assert.deepEqual(all.found, [...keys].sort());
      assert.equal(all.pages, 3);
      assert.deepEqual((await listed('many/3/k0', 50)).found, keys.filter((key) => key.startsWith('many/3/')).sort());
      assert.includeMembers((await listed('many', 1000)).found, beside);
      assert.deepEqual((await listed('nothing/here', 10)).found, []);
      const [first] = (await store.list({ prefix: 'many-a' })).objects;
      assert.equal(first?.size, 6);
      await filler.delete(keys);
      assert.deepEqual((await listed('many/', 1000)).found, []);
      await Promise.all([other.close(), filler.close()]);
    });

    it('refuses keys that could leave the prefix or that some service changes', async () => {
      const bad = [
        '',
        '/a',
        'a/',
        'a//b',
        '../a',
        'a/../b',
        'a/./b',
        'a\\b',
        'a b',
        'a\n',
        'ä',
        'a.',
        'x'.repeat(241),
        '%2e%2e',
      ];
      for (const key of bad) assert.equal((await failure(store.put(key, Buffer.from('x')))).field, 'key', key);
      assert.equal((await failure(store.list({ prefix: '../' }))).field, 'key');
      const metadata = { stator_crc32: '0' };
      assert.equal((await failure(store.put('a', Buffer.from('x'), { metadata }))).field, 'metadata.stator_crc32');
    });

    it('keeps to its concurrency, and refuses when too many wait', async () => {
      const config = { objectStoreConcurrency: 3, objectStoreMaxQueued: 5 };
      const { store: narrow, telemetry: own } = await place.open('one/two', config);
      const body = random(MIB);
      const work = Array.from({ length: 12 }, (_, index) => narrow.put(`narrow/${index}`, body));
      const settled = Promise.allSettled(work);
      assert.equal(await metric(own, 'in_flight'), 3);
      assert.equal(await metric(own, 'queued'), 5);
      const failed = (await settled).flatMap((one) => (one.status === 'rejected' ? [one.reason.code] : []));
      assert.deepEqual(failed, ['overloaded', 'overloaded', 'overloaded', 'overloaded']);
      assert.equal(await metric(own, 'in_flight'), 0);
      assert.equal(await metric(own, 'queued'), 0);
      await narrow.close();
    });

    it('ends what is cancelled, waiting or running, at once', async () => {
      const { store: narrow, telemetry: own } = await place.open('one/two', { objectStoreConcurrency: 1 });
      await narrow.put('cancel', random(8 * MIB));
      const running = new AbortController();
      const waiting = new AbortController();
      const first = failure(narrow.get('cancel', { signal: running.signal }));
      const second = failure(narrow.get('cancel', { signal: waiting.signal }));
      waiting.abort();
      assert.equal((await second).code, 'cancelled');
      running.abort();
      assert.equal((await first).code, 'cancelled');
      assert.equal((await failure(narrow.get('cancel', { signal: AbortSignal.abort() }))).code, 'cancelled');
      assert.equal((await narrow.get('cancel')).bytes.length, 8 * MIB);
      assert.equal(await metric(own, 'in_flight'), 0);
      await narrow.close();
      assert.equal((await failure(narrow.head('cancel'))).code, 'cancelled');
    });

    it('closes what it opened', async function () {
      if (process.platform !== 'linux') skip(this, 'open descriptors are counted in /proc');
      const before = await openFiles(process.pid);
      const { store: brief } = await place.open('one/two');
      const body = random(MIB);
      await Promise.all(Array.from({ length: 24 }, (_, index) => brief.put(`brief/${index}`, body)));
      await Promise.all(Array.from({ length: 24 }, (_, index) => brief.get(`brief/${index}`)));
      await failure(brief.get('brief/0', { into: new Uint8Array(1) }));
      await brief.close();
      await brief.close();
      await until('file descriptors are back', async () => (await openFiles(process.pid)) <= before);
    });
  });
}
