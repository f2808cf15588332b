import { Code } from '@connectrpc/connect';
import { expect } from 'chai';
import { errorClasses, isErrorCode } from './codes.ts';
import { StatorError } from './errors.ts';

describe('StatorError', () => {
  it('keeps what it is given', () => {
    const cause = new Error('why');
    const error = new StatorError('overloaded', 'full', { retryAfterMs: 10, facts: { limit: 1 }, cause });
    expect(error).to.include({ code: 'overloaded', message: 'full', retryAfterMs: 10, cause, name: 'StatorError' });
    expect(error.facts).to.deep.equal({ limit: 1 });
  });

  it('names the field of an argument', () => {
    expect(StatorError.invalid('n', 'n is too large')).to.include({ code: 'invalid_argument', field: 'n' });
  });

  it('makes foreign errors internal and keeps them as the cause', () => {
    const foreign = new TypeError('x is not a function');
    expect(StatorError.from(foreign)).to.include({ code: 'internal', message: foreign.message, cause: foreign });
    expect(StatorError.from('text')).to.include({ code: 'internal', message: 'text' });
    const own = StatorError.notFound('gone');
    expect(StatorError.from(own)).to.equal(own);
  });
});

describe('the error table', () => {
  it('gives callers at fault a 4xx and no retry', () => {
    for (const [code, row] of Object.entries(errorClasses)) {
      if (row.grpc === Code.InvalidArgument) expect(row.http, code).to.be.within(400, 499);
      if (row.http < 500) expect(row.retryable, code).to.equal(false);
    }
  });

  it('knows its own codes only', () => {
    expect(isErrorCode('internal')).to.equal(true);
    expect(isErrorCode('toString')).to.equal(false);
  });
});
