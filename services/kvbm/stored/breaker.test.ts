import { expect } from 'chai';
import { Breaker } from './breaker.ts';

describe('breaker', () => {
  const settings = { failures: 2, firstPauseMs: 100, longestPauseMs: 300 };

  it('opens after failures in a row, then lets one at a time try, after longer and longer pauses', () => {
    const breaker = new Breaker(settings);
    breaker.failed('EIO', 0);
    breaker.succeeded();
    breaker.failed('EIO', 0);
    expect(breaker.enter(0)).to.equal(true);
    breaker.failed('EIO', 0);
    expect([breaker.reason, breaker.enter(99)]).to.deep.equal(['EIO', false]);
    let nowMs = 0;
    for (const pauseMs of [100, 200, 300, 300]) {
      expect(breaker.enter(nowMs + pauseMs - 1)).to.equal(false);
      nowMs += pauseMs;
      expect(breaker.mayEnter(nowMs)).to.equal(true);
      expect([breaker.enter(nowMs), breaker.enter(nowMs), breaker.mayEnter(nowMs)]).to.deep.equal([true, false, false]);
      breaker.failed('EIO', nowMs);
    }
    nowMs += 300;
    expect(breaker.enter(nowMs)).to.equal(true);
    breaker.succeeded();
    expect([breaker.reason, breaker.enter(nowMs)]).to.deep.equal([undefined, true]);
  });

  it('opens at once where trying again is in vain, and does not count those that were under way', () => {
    const breaker = new Breaker(settings);
    breaker.failed('ENOSPC', 0, true);
    breaker.failed('ENOSPC', 50, true);
    expect(breaker.enter(100)).to.equal(true);
    breaker.unknown();
    expect([breaker.enter(100), breaker.enter(100)]).to.deep.equal([true, false]);
  });
});
