import { expect } from 'chai';
import { decideMigration, type FailedSequence } from './migration.ts';

const failed: FailedSequence = {
  code: 'stream_incomplete',
  retryable: true,
  attempts: 1,
  promptTokens: 100,
  deliveredTokens: 10,
  maxTokens: 50,
  guided: false,
  pinned: false,
  cancelled: false,
};
const policy = { limit: 3, maxSequenceTokens: null };

describe('decideMigration', () => {
  it('replays for the tokens still wanted', () => {
    expect(decideMigration(failed, policy)).to.deep.equal({ action: 'replay', type: 'ongoing_request', maxTokens: 40 });
    expect(decideMigration({ ...failed, deliveredTokens: 0 }, policy)).to.deep.equal({
      action: 'replay',
      type: 'new_request',
      maxTokens: 50,
    });
  });

  it('completes what was delivered in full', () => {
    expect(decideMigration({ ...failed, deliveredTokens: 50 }, policy)).to.deep.equal({ action: 'complete' });
  });

  const refusals: readonly (readonly [string, Partial<FailedSequence>])[] = [
    ['cancelled', { cancelled: true, deliveredTokens: 50 }],
    ['hopeless elsewhere', { retryable: false }],
    ['pinned', { pinned: true }],
    ['constrained and begun', { guided: true }],
    ['at the limit', { attempts: 4 }],
  ];
  for (const [what, change] of refusals) {
    it(`does not replay what is ${what}`, () => {
      expect(decideMigration({ ...failed, ...change }, policy).action).to.equal('fail');
    });
  }

  it('replays constrained output of which nothing was delivered: its grammar begins anew', () => {
    expect(decideMigration({ ...failed, guided: true, deliveredTokens: 0 }, policy).action).to.equal('replay');
  });

  it('does not replay more tokens than allowed', () => {
    expect(decideMigration(failed, { limit: 3, maxSequenceTokens: 109 }).action).to.equal('fail');
    expect(decideMigration(failed, { limit: 3, maxSequenceTokens: 110 }).action).to.equal('replay');
  });

  it('never replays where the limit is 0', () => {
    expect(decideMigration(failed, { limit: 0, maxSequenceTokens: null }).action).to.equal('fail');
  });
});
