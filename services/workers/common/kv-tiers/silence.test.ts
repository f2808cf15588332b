import { setTimeout as delay, setImmediate as turn } from 'node:timers/promises';
import { expect } from 'chai';
import { Silence } from './silence.ts';

describe('Silence', () => {
  it('ends what says nothing, and not what ended before', async () => {
    const [ended, over] = [new AbortController(), new AbortController()];
    const other = new Silence(over);
    other.expect(1);
    other.end();
    new Silence(ended).expect(1);
    while (!ended.signal.aborted) await turn();
    expect(ended.signal.reason).to.include({ code: 'worker_unavailable' });
    expect(over.signal.aborted).to.equal(false);
  });

  it('hears what came while this process stood still before it judges', async () => {
    const ending = new AbortController();
    const silence = new Silence(ending);
    silence.expect(200);
    setImmediate(() => {
      const until = performance.now() + 300;
      while (performance.now() < until);
      // What a socket received meanwhile has its turn after the timers.
      setImmediate(() => silence.heard());
    });
    await delay(0);
    await turn();
    await turn();
    await turn();
    expect(ending.signal.aborted).to.equal(false);
    silence.end();
  });
});
