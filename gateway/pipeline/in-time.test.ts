import { expect } from 'chai';
import { StatorError } from '#lib/errors/errors.ts';
import { inTime } from './in-time.ts';

/** Ends only with its signal. */
function endless(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const end = (): void => reject(new Error('ended'));
    if (signal.aborted) end();
    else signal.addEventListener('abort', end, { once: true });
  });
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'answered',
    (thrown: unknown) => (thrown instanceof StatorError ? thrown.code : String(thrown)),
  );
}

describe('work in time', () => {
  const { signal } = new AbortController();

  it('ends at the nearer of deadline and limit', async () => {
    const late = Date.now() + 60_000;
    expect(await codeOf(inTime({ deadlineUnixMs: 1, limitMs: 60_000, signal }, endless))).to.equal('deadline_exceeded');
    expect(await codeOf(inTime({ deadlineUnixMs: late, limitMs: 5, signal }, endless))).to.equal('deadline_exceeded');
  });

  it('gives its answer and its own errors', async () => {
    expect(await inTime({ deadlineUnixMs: 0, limitMs: 0, signal }, async () => 7)).to.equal(7);
    expect(await inTime({ deadlineUnixMs: 0, limitMs: 60_000, signal }, async () => 7)).to.equal(7);
    const failing = inTime({ deadlineUnixMs: 0, limitMs: 60_000, signal }, () => Promise.reject(new Error('own')));
    expect(await codeOf(failing)).to.equal('Error: own');
  });

  it('ends when the client leaves, and not for the time', async () => {
    const client = new AbortController();
    const work = inTime({ deadlineUnixMs: 0, limitMs: 60_000, signal: client.signal }, endless);
    client.abort();
    expect(await codeOf(work)).to.equal('Error: ended');
  });
});
