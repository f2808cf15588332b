import { assert } from 'chai';
import { Backoff } from './backoff.ts';

describe('backoff', () => {
  it('doubles up to its bound and starts again after a reset', () => {
    const backoff = new Backoff({ firstMs: 250, maximumMs: 5000, random: () => 1 });
    const waits = Array.from({ length: 7 }, () => backoff.next());
    assert.deepEqual(waits, [250, 500, 1000, 2000, 4000, 5000, 5000]);
    backoff.reset();
    assert.equal(backoff.next(), 250);
  });

  it('spreads the waits over their upper half', () => {
    const backoff = new Backoff({ firstMs: 100, maximumMs: 100, random: () => 0 });
    assert.equal(backoff.next(), 50);
  });

  it('ends a wait when the signal aborts, without an error', async () => {
    const controller = new AbortController();
    const waited = new Backoff({ firstMs: 1e6, maximumMs: 1e6 }).wait(controller.signal);
    controller.abort();
    await waited;
  });
});
