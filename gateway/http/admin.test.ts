import type { IncomingMessage } from 'node:http';
import { expect } from 'chai';
import { StatorError } from '#lib/errors/errors.ts';
import { requireAdmin } from './admin.ts';

function answerTo(internalToken: string | undefined, remoteAddress: string, authorization?: string): string {
  const request = { socket: { remoteAddress }, headers: { authorization } } as unknown as IncomingMessage;
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
});
