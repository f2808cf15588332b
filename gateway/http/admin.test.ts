import type { IncomingMessage } from 'node:http';
import { expect } from 'chai';
import { StatorError } from '#lib/errors/errors.ts';
import { requireAdmin } from './admin.ts';

function answerTo(
  internalToken: string | undefined,
  remoteAddress: string,
  authorization?: string,
  headers: object = {},
): string {
  const request = { socket: { remoteAddress }, headers: { authorization, ...headers } } as unknown as IncomingMessage;
  try {
    requireAdmin({ internalToken }, request);
    return 'let in';
  } catch (thrown) {
    return StatorError.from(thrown).code;
  }
}

describe('administration', () => {
  it('is for this machine where there is no token', () => {
    for (const address of ['127.0.0.1', '::1', '::ffff:127.0.0.1'])
      expect(answerTo(undefined, address)).to.equal('let in');
    for (const address of ['10.0.0.7', '2001:db8::1', '::ffff:10.0.0.7', ''])
      expect(answerTo(undefined, address)).to.equal('permission_denied');
  });

  it('is for whoever sends the token where there is one', () => {
    expect(answerTo('t', '10.0.0.7', 'Bearer t')).to.equal('let in');
    expect(answerTo('t', '127.0.0.1')).to.equal('unauthenticated');
    expect(answerTo('t', '127.0.0.1', 'Bearer T')).to.equal('unauthenticated');
  });

  it('is not for those whom a proxy or a browser on this machine speaks for', () => {
    const from = (headers: object): string => answerTo(undefined, '127.0.0.1', undefined, headers);
    for (const host of ['127.0.0.1:8000', 'localhost:8000', 'LocalHost', '[::1]:8000', '127.0.0.1'])
      expect(from({ host }), host).to.equal('let in');
    expect(from({ host: 'localhost:1', origin: 'http://localhost:1', 'sec-fetch-site': 'same-origin' })).to.equal(
      'let in',
    );
    for (const headers of [
      { host: 'stator.example.org' },
      { host: 'rebound.example.org:8000' },
      { host: 'localhost.example.org' },
      { host: '127.0.0.1.example.org' },
      { ':authority': 'rebound.example.org:8000', host: 'localhost' },
      { host: 'localhost:8000', 'x-forwarded-for': '203.0.113.9' },
      { host: 'localhost:8000', forwarded: 'for=203.0.113.9' },
      { host: 'localhost:8000', origin: 'https://evil.example.org' },
      { host: 'localhost:8000', origin: 'http://localhost:9999' },
      { host: 'localhost:8000', origin: 'null' },
      { host: 'localhost:8000', 'sec-fetch-site': 'cross-site' },
    ])
      expect(from(headers), JSON.stringify(headers)).to.equal('permission_denied');
  });
});
