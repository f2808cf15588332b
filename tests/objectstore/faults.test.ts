import { assert } from 'chai';
import type { ObjectStore } from '#lib/objectstore/store.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import { startTcpProxy, type TcpProxy } from '#tests/support/tcp-proxy.ts';
import { until } from '#tests/support/until.ts';
import { type Place, type PlaceName, places } from './backends.ts';
import { chunksOf, digest, failure, metric, random } from './support.ts';

const MIB = 1024 ** 2;
const networked: readonly PlaceName[] = ['s3', 'azure'];

for (const name of networked) describeFaults(name);

/** What the network and operators do to a store. */
function describeFaults(name: PlaceName): void {
  describe(`object store faults: ${name}`, function () {
    this.timeout(120_000);
    let place: Place;
    let proxy: TcpProxy;
    let store: ObjectStore;
    let telemetry: Telemetry;

    before(async function () {
      place = await places[name](this);
    });
    after(async () => place?.dispose());
    beforeEach(async () => {
      proxy = await startTcpProxy(place.port ?? 0, { reset: false });
      const objectStoreEndpoint = `http://127.0.0.1:${proxy.port}`;
      ({ store, telemetry } = await place.open('faults', { objectStoreEndpoint, objectStoreAttemptTimeoutMs: 15_000 }));
    });
    afterEach(async () => {
      await store.close();
      await proxy.close();
    });

    it('gives up on a server that is down after its retries, counted', async () => {
      await store.put('down', Buffer.from('x'));
      proxy.cut();
      const error = await failure(store.get('down'));
      assert.equal(error.code, 'storage_unavailable');
      assert.isTrue(error.retryable);
      assert.equal(await metric(telemetry, 'retries_total', { op: 'get' }), 3);
      assert.equal(await metric(telemetry, 'requests_total', { op: 'get', outcome: 'storage_unavailable' }), 4);
      proxy.heal();
      assert.equal((await store.get('down')).bytes.length, 1);
    });

    it('outlives a server that is away for a moment', async () => {
      const body = random(MIB);
      proxy.cut();
      const put = store.put('back', body);
      await until('a retry', async () => (await metric(telemetry, 'retries_total', { op: 'put' })) > 0);
      proxy.heal();
      await put;
      assert.equal(digest((await store.get('back')).bytes), digest(body));
    });

    it('does not repeat a conditional write whose fate is unknown', async () => {
      proxy.cut();
      const put = store.put('unknown', Buffer.from('x'), { ifNoneMatch: true });
      assert.equal((await failure(put)).code, 'storage_unavailable');
      assert.equal(await metric(telemetry, 'retries_total'), 0);
    });

    it('ends by its deadline and at a cancel when the server falls silent', async () => {
      await store.put('silent', random(MIB));
      proxy.freeze();
      assert.equal((await failure(store.get('silent', { timeoutMs: 150 }))).code, 'deadline_exceeded');
      const controller = new AbortController();
      const cancelled = failure(store.put('silent', random(MIB), { signal: controller.signal }));
      await until('it runs', async () => (await metric(telemetry, 'in_flight')) === 1);
      controller.abort();
      assert.equal((await cancelled).code, 'cancelled');
      proxy.heal();
      assert.equal((await store.get('silent')).bytes.length, MIB);
      assert.equal(await metric(telemetry, 'in_flight'), 0);
    });

    it('tries again when one try takes too long', async () => {
      const body = random(1000);
      await store.put('slow', body);
      const objectStoreEndpoint = `http://127.0.0.1:${proxy.port}`;
      const { store: quick, telemetry: own } = await place.open('faults', {
        objectStoreEndpoint,
        objectStoreAttemptTimeoutMs: 300,
        objectStoreMaxRetries: 50,
      });
      proxy.freeze();
      const got = quick.get('slow');
      await until('a retry', async () => (await metric(own, 'retries_total', { op: 'get' })) > 0);
      proxy.heal();
      assert.equal(digest((await got).bytes), digest(body));
      assert.isAbove(await metric(own, 'requests_total', { op: 'get', outcome: 'deadline_exceeded' }), 0);
      await quick.close();
    });

    it('finishes a streamed upload whose connections are cut in the middle', async () => {
      const body = random(24 * MIB);
      let cuts = 0;
      async function* cutting() {
        for await (const chunk of chunksOf(body, MIB)) {
          if (++cuts === 13) {
            proxy.cut();
            proxy.heal();
          }
          yield chunk;
        }
      }
      assert.equal(await store.putStream('cut', cutting()), body.length);
      assert.equal(digest((await store.get('cut')).bytes), digest(body));
    });

    it('says so when credentials are wrong, and shows no secret', async () => {
      const objectStoreSecret = Buffer.from('not-the-secret-at-all').toString('base64');
      const { store: stranger, telemetry: own } = await place.open('faults', { objectStoreSecret });
      const error = await failure(stranger.put('x', Buffer.from('x')));
      assert.equal(error.code, 'unauthenticated');
      assert.equal(await metric(own, 'retries_total'), 0);
      for (const secret of [objectStoreSecret, 'not-the-secret', 'Signature=', 'authorization'])
        assert.notInclude(`${error.stack} ${JSON.stringify(error)} ${String(error.cause)}`, secret);
      await stranger.close();
    });

    it('says what the server lacks', async () => {
      const error = await failure(store.setExpiry(3));
      assert.equal(error.code, 'unimplemented');
    });
  });
}
