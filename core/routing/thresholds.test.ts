import { expect } from 'chai';
import { busyReason, type RankUse, workerBusyReason } from './thresholds.ts';

const use: RankUse = { activeBlocks: 90, totalBlocks: 100, activePrefillTokens: 5000, maxBatchedTokens: 8000 };

describe('busy thresholds', () => {
  it('are off unless set', () => {
    expect(busyReason(use, {})).to.equal(null);
  });

  it('are exceeded above, not at, their value', () => {
    expect(busyReason(use, { activeDecodeBlocks: 0.9 })).to.equal(null);
    expect(busyReason(use, { activeDecodeBlocks: 0.89 })).to.match(/^90 of 100 KV blocks/);
    expect(busyReason(use, { activePrefillTokens: 5000 })).to.equal(null);
    expect(busyReason(use, { activePrefillTokens: 4999 })).to.match(/^5000 prompt tokens wait, over the threshold/);
    expect(busyReason(use, { activePrefillTokensFraction: 0.625 })).to.equal(null);
    expect(busyReason(use, { activePrefillTokensFraction: 0.624 })).to.match(/over 0.624 of a pass of 8000/);
  });

  it('ignore blocks of a rank whose size is unknown and assume ten million tokens for an unknown pass', () => {
    expect(busyReason({ ...use, totalBlocks: 0 }, { activeDecodeBlocks: 0 })).to.equal(null);
    const unknown = { ...use, maxBatchedTokens: 0, activePrefillTokens: 10_000_001 };
    expect(busyReason(unknown, { activePrefillTokensFraction: 1 })).to.match(/of a pass of 10000000$/);
    expect(busyReason({ ...unknown, activePrefillTokens: 10_000_000 }, { activePrefillTokensFraction: 1 })).to.equal(
      null,
    );
  });

  it('make a worker busy only where all its ranks are', () => {
    expect(workerBusyReason(['full', null])).to.equal(null);
    expect(workerBusyReason(['full', 'waits'])).to.equal('full');
    expect(workerBusyReason([])).to.equal(null);
  });
});
