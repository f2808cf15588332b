import { expect } from 'chai';
import { StatorError } from '#lib/errors/errors.ts';
import { anybody, type Caller } from './caller.ts';
import { RateLimits } from './rate-limits.ts';

const noon = Date.UTC(2026, 10, 21, 12);

class Clock {
  ms = 0;
  readonly limits = new RateLimits(
    () => this.ms,
    () => noon + this.ms,
  );

  /** Lets a request in that uses so many tokens. */
  ask(of: Caller, tokens: number): void {
    this.limits.enter(of).leave(tokens);
  }
}

function refusal(work: () => unknown): StatorError {
  try {
    work();
  } catch (thrown) {
    return StatorError.from(thrown);
  }
  throw new Error('it was let in');
}

const caller = (changes: Partial<Caller>): Caller => ({ ...anybody, id: 'a', tenant: 'a', ...changes });

describe('rate limits', () => {
  it('let so many requests in, then one each time a part of the minute has passed', () => {
    const clock = new Clock();
    const a = caller({ requestsPerMinute: 3 });
    for (let left = 2; left >= 0; left--) expect(clock.limits.enter(a).rates.requests?.remaining).to.equal(left);
    const error = refusal(() => clock.limits.enter(a));
    expect(error).to.include({ code: 'rate_limited', retryAfterMs: 20_000 });
    clock.ms += 19_999;
    refusal(() => clock.limits.enter(a));
    clock.ms += 2;
    expect(clock.limits.enter(a).rates.requests).to.deep.include({ limit: 3, remaining: 0 });
  });

  it('never hold more than a minute’s worth', () => {
    const clock = new Clock();
    const a = caller({ requestsPerMinute: 2 });
    clock.limits.enter(a);
    clock.ms += 3_600_000;
    clock.limits.enter(a);
    clock.limits.enter(a);
    refusal(() => clock.limits.enter(a));
  });

  it('let work that nobody waits for take what is left, all of it or nothing', () => {
    const clock = new Clock();
    const a = caller({ tokensPerMinute: 600, tokensPerDay: 700, tokensPerMonth: 5000, requestsPerMinute: 1 });
    clock.ask(a, 500);
    expect(refusal(() => clock.limits.spend(a, 101))).to.include({ code: 'rate_limited' });
    clock.limits.spend(a, 100)(90);
    expect(refusal(() => clock.limits.spend(a, 11)).message).to.contain('11 tokens');
    clock.ms += 60_000;
    expect(
      refusal(() => clock.limits.spend(a, 111)),
      'the day',
    ).to.include({ code: 'rate_limited' });
    clock.limits.spend(a, 110)(110);
    expect(refusal(() => clock.limits.enter(a)).message).to.contain('a day is used up');
    // It is no request, and a key without limits has room for anything.
    clock.limits.spend(caller({}), Number.MAX_SAFE_INTEGER)(1);
  });

  it('charge tokens when they are known, and let nobody in while some are owed', () => {
    const clock = new Clock();
    const a = caller({ tokensPerMinute: 600 });
    clock.ask(a, 900);
    const { retryAfterMs = 0 } = refusal(() => clock.limits.enter(a));
    expect(retryAfterMs).to.be.within(30_000, 30_200);
    clock.ms += retryAfterMs;
    clock.limits.enter(a);
  });

  it('count requests at once', () => {
    const { limits } = new Clock();
    const a = caller({ concurrentRequests: 2 });
    const first = limits.enter(a);
    limits.enter(a);
    expect(refusal(() => limits.enter(a)).code).to.equal('rate_limited');
    first.leave(0);
    limits.enter(a);
  });

  it('end at midnight UTC for days and with the month for months', () => {
    const clock = new Clock();
    const daily = caller({ tokensPerDay: 100 });
    const monthly = caller({ id: 'm', tokensPerMonth: 100 });
    for (const one of [daily, monthly]) clock.ask(one, 100);
    expect(refusal(() => clock.limits.enter(daily)).retryAfterMs).to.equal(12 * 3_600_000);
    expect(refusal(() => clock.limits.enter(monthly)).retryAfterMs).to.equal((12 + 9 * 24) * 3_600_000);
    clock.ms += 12 * 3_600_000;
    clock.limits.enter(daily);
    refusal(() => clock.limits.enter(monthly));
    clock.ms += 9 * 24 * 3_600_000;
    clock.limits.enter(monthly);
  });

  it('keep callers apart, and forget those of whom there is nothing to know', () => {
    const clock = new Clock();
    const a = caller({ requestsPerMinute: 1 });
    clock.limits.enter(a);
    clock.limits.enter({ ...a, id: 'b' });
    for (let i = 0; i < 10_000; i++) clock.ask({ ...a, id: `c${i}` }, 7);
    clock.ms += 120_000;
    clock.limits.enter({ ...a, id: 'd' });
    // Those that still run stay.
    expect(clock.limits.size).to.equal(3);
  });
});
