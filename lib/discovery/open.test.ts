import { assert } from 'chai';
import { StatorError } from '#lib/errors/errors.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { testInstance } from './conformance-support.ts';
import { parseEtcdTarget } from './etcd-target.ts';
import { openDiscovery } from './open.ts';

describe('discovery URLs', () => {
  const target = (rest: string, tls = false) => parseEtcdTarget(rest, { tls, options: {} });

  it('lists endpoints, with the port of etcd as the default', () => {
    assert.deepEqual(target('http://a:2379,http://b.example:23,[::1]:5/').endpoints, [
      'a:2379',
      'b.example:23',
      '[::1]:5',
    ]);
    assert.deepEqual(target('a').endpoints, ['a:2379']);
    assert.isFalse(target('a').tls);
  });

  it('takes TLS from the scheme and its files from the parameters', () => {
    assert.isTrue(target('https://a').tls);
    assert.isTrue(target('a', true).tls);
    const { tls, options } = target('https://a:1?ca=/x/ca.pem&cert=/x/c.pem&key=/x/k.pem');
    assert.isTrue(tls);
    assert.deepEqual(options, { caFile: '/x/ca.pem', certFile: '/x/c.pem', keyFile: '/x/k.pem' });
  });

  it('lets options win over parameters', () => {
    const { options } = parseEtcdTarget('https://a?ca=/url', { tls: false, options: { caFile: '/option' } });
    assert.equal(options.caFile, '/option');
  });

  for (const rest of [
    '',
    'http://',
    'a:0',
    'a:70000',
    'ftp://a:1',
    'a b',
    'http://a,https://b',
    'https://a?cert=/x',
    'a?user=x',
  ]) {
    it(`refuses ${JSON.stringify(rest)}`, () => {
      assert.throws(() => target(rest), StatorError);
    });
  }

  it('refuses http under etcds', () => {
    assert.throws(() => target('http://a', true), /mix/);
  });

  it('refuses secrets in the URL, and does not repeat them', () => {
    try {
      target('http://user:hunter2@a:1');
      assert.fail('expected a refusal');
    } catch (error) {
      assert.instanceOf(error, StatorError);
      assert.notInclude(error.message, 'hunter2');
    }
  });

  for (const url of ['', 'memory', 'redis://a', 'file:']) {
    it(`does not open ${JSON.stringify(url)}`, async () => {
      const options = { namespace: 'x', ttlSeconds: 1, telemetry: quietTelemetry() };
      const error = await openDiscovery(url, options).then(
        () => assert.fail('expected a refusal'),
        (thrown: unknown) => thrown,
      );
      assert.instanceOf(error, StatorError);
      assert.equal(error.field, 'discovery');
    });
  }

  it('lets participants of one memory name meet, and only those', async () => {
    const options = { namespace: 'x', ttlSeconds: 1, telemetry: quietTelemetry() };
    const [here, there, elsewhere] = [
      await openDiscovery('memory:one', options),
      await openDiscovery('memory:one', options),
      await openDiscovery('memory:two', options),
    ];
    await here.register(testInstance(1n));
    const [seen, unseen] = [there.watch(undefined), elsewhere.watch(undefined)];
    await Promise.all([seen.synced, unseen.synced]);
    assert.deepEqual([seen.instances().size, unseen.instances().size], [1, 0]);
    for (const discovery of [here, there, elsewhere]) await discovery.close();
  });
});
