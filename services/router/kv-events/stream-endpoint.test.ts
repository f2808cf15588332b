import { expect } from 'chai';
import { StatorError } from '#lib/errors/errors.ts';
import { checkedEndpoint } from './stream-endpoint.ts';

describe('address of an engine’s event stream', () => {
  for (const endpoint of [
    'tcp://127.0.0.1:5557',
    'tcp://engine-0.pool_a.svc:1',
    'tcp://[::1]:65535',
    'ipc:///run/e.sock',
  ])
    it(`may be ${endpoint}`, () => {
      expect(checkedEndpoint(endpoint, 'endpoint', 'tcp+ipc')).to.equal(endpoint);
    });

  for (const endpoint of [
    '',
    'localhost:5557',
    'http://127.0.0.1:80',
    'inproc://a',
    'udp://127.0.0.1:1',
    'tcp://*:5557',
    'tcp://127.0.0.1:0',
    'tcp://127.0.0.1:65536',
    'tcp://127.0.0.1',
    'tcp://eth0;127.0.0.1:5557',
    'tcp://user@host:5557',
    'tcp://127.0.0.1:5557/path',
    'ipc://',
    'ipc://*',
    'ipc:///a\n/b',
  ])
    it(`may not be ${JSON.stringify(endpoint)}`, () => {
      expect(() => checkedEndpoint(endpoint, 'endpoint', 'tcp+ipc'))
        .to.throw(StatorError, 'expected tcp://HOST:PORT or ipc://PATH')
        .with.property('field', 'endpoint');
    });

  it('is of a kind that is switched on', () => {
    expect(() => checkedEndpoint('ipc:///a', 'x', 'tcp')).to.throw(StatorError, '--engine-stream-transports');
    expect(() => checkedEndpoint('tcp://a:1', 'x', 'ipc')).to.throw(StatorError, '--engine-stream-transports');
    expect(checkedEndpoint('ipc:///a', 'x', 'ipc')).to.equal('ipc:///a');
  });
});
