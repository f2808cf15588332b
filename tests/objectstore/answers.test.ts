import type { IncomingMessage, ServerResponse } from 'node:http';
import { crc32 } from 'node:zlib';
import { assert } from 'chai';
import { defaultSettings } from '#lib/config/settings.ts';
import { openObjectStore } from '#lib/objectstore/open.ts';
import { objectStoreSettings } from '#lib/objectstore/settings.ts';
import type { ObjectStore } from '#lib/objectstore/store.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { type FakeS3, startFakeS3 } from './fake-s3.ts';
import { failure, metric, random } from './support.ts';

type Answer = (request: IncomingMessage, response: ServerResponse, body: string) => void;

describe('object store: answers that real servers give on bad days', () => {
  const telemetry = quietTelemetry();
  const body = random(200_000);
  const checksum = Buffer.alloc(4);
  checksum.writeUInt32BE(crc32(body));
  const headers = { 'content-length': body.length, 'x-amz-checksum-crc32': checksum.toString('base64'), etag: '"1"' };
  let answers: Answer[] = [];
  let server: FakeS3;
  let store: ObjectStore;

  beforeEach(async () => {
    server = await startFakeS3((request, response, text) => (answers.shift() ?? good)(request, response, text));
    const config = defaultSettings(objectStoreSettings, {
      objectStore: 's3://bucket-of-test/p',
      objectStoreEndpoint: server.endpoint,
      objectStoreAccessKeyId: 'id',
      objectStoreSecret: 'secret',
    });
    store = await openObjectStore(config, telemetry);
    telemetry.metrics.resetMetrics();
  });
  afterEach(async () => {
    await store.close();
    await server.close();
  });

  const good: Answer = (_, response) => response.writeHead(200, headers).end(body);
  const status =
    (code: number, name: string): Answer =>
    (_, response) =>
      response.writeHead(code, { 'content-type': 'application/xml' }).end(`<Error><Code>${name}</Code></Error>`);
  const truncated: Answer = (_, response) => {
    response.writeHead(200, headers);
    response.write(body.subarray(0, 70_000), () => response.destroy());
  };
  const corrupted: Answer = (_, response) => {
    const wrong = Buffer.from(body);
    wrong[100_000] = (wrong[100_000] ?? 0) ^ 1;
    response.writeHead(200, headers).end(wrong);
  };

  it('repeats after 5xx, throttling, a truncated and a corrupted answer', async () => {
    for (const answer of [status(500, 'InternalError'), status(503, 'SlowDown'), truncated, corrupted]) {
      answers = [answer];
      telemetry.metrics.resetMetrics();
      assert.isTrue(Buffer.from((await store.get('a')).bytes).equals(body));
      assert.equal(await metric(telemetry, 'retries_total', { op: 'get' }), 1);
    }
  });

  it('gives up with the last reason', async () => {
    const cases = [
      [status(500, 'InternalError'), 'storage_unavailable'],
      [truncated, 'storage_unavailable'],
      [corrupted, 'checksum_mismatch'],
    ] as const;
    for (const [answer, code] of cases) {
      answers = [answer, answer, answer, answer];
      assert.equal((await failure(store.get('a'))).code, code);
      assert.lengthOf(answers, 0);
    }
  });

  it('repeats a conditional write only where it was certainly refused', async () => {
    answers = [status(503, 'SlowDown')];
    await store.put('a', body, { ifNoneMatch: true });
    assert.lengthOf(server.requests, 2);
    answers = [status(500, 'InternalError')];
    assert.equal((await failure(store.put('a', body, { ifNoneMatch: true }))).code, 'storage_unavailable');
    assert.lengthOf(server.requests, 3);
  });

  it('does not repeat what is the fault of the request', async () => {
    const cases = [
      [403, 'AccessDenied', 'permission_denied'],
      [403, 'SignatureDoesNotMatch', 'unauthenticated'],
      [404, 'NoSuchBucket', 'not_found'],
      [400, 'InvalidRequest', 'invalid_argument'],
    ] as const;
    for (const [code, name, expected] of cases) {
      answers = [status(code, name)];
      const error = await failure(store.get('a'));
      assert.equal(error.code, expected);
      assert.include(error.message, name);
    }
    assert.lengthOf(server.requests, cases.length);
  });

  it('tells which objects of a batch were not deleted', async () => {
    answers = [
      (_, response) =>
        response
          .writeHead(200, { 'content-type': 'application/xml' })
          .end('<DeleteResult><Error><Key>p/a</Key><Code>AccessDenied</Code></Error></DeleteResult>'),
    ];
    const error = await failure(store.delete(['a', 'b']));
    assert.equal(error.code, 'permission_denied');
    assert.include(error.message, '1 objects were not deleted');
  });

  it('adds its expiry to the rules of others', async () => {
    let sent = '';
    const others = '<Rule><ID>theirs</ID><Status>Enabled</Status><Filter><Prefix>x/</Prefix></Filter></Rule>';
    const old = '<Rule><ID>stator-expiry-p-</ID><Status>Enabled</Status><Filter><Prefix>p/</Prefix></Filter></Rule>';
    answers = [
      (_, response) =>
        response
          .writeHead(200, { 'content-type': 'application/xml' })
          .end(`<LifecycleConfiguration>${others}${old}</LifecycleConfiguration>`),
      (_, response, text) => {
        sent = text;
        response.writeHead(200).end();
      },
    ];
    await store.setExpiry(7);
    assert.include(sent, '<ID>theirs</ID>');
    assert.lengthOf(sent.match(/<ID>stator-expiry-p-<\/ID>/g) ?? [], 1);
    assert.include(sent, '<Days>7</Days>');
    assert.include(sent, '<Prefix>p/</Prefix>');
  });

  it('names the setting that is wrong and shows nothing of it', async () => {
    const open = (config: Parameters<typeof defaultSettings<typeof objectStoreSettings>>[1]) =>
      failure(openObjectStore(defaultSettings(objectStoreSettings, config), telemetry));
    for (const objectStore of [undefined, 'gs://x/y', 's3://KEY:secret@bucket', 's3:', 'bucket']) {
      const error = await open(objectStore === undefined ? {} : { objectStore });
      assert.equal(error.field, 'objectStore');
      assert.notInclude(error.message, 'secret');
    }
    const endpoint = await open({ objectStore: 's3://bucket-a', objectStoreEndpoint: 'http://id:secret@host' });
    assert.equal(endpoint.field, 'objectStoreEndpoint');
    assert.notInclude(endpoint.message, 'secret');
    assert.equal((await open({ objectStore: 'azure://container-a' })).field, 'objectStoreAccessKeyId');
    const identity = { objectStore: 'azure://container-a', objectStoreAccessKeyId: 'account' };
    assert.include((await open(identity)).message, '@azure/identity');
  });
});
