import { expect } from 'chai';
import { generateMooncakeLike } from '../traces/mooncake-like.ts';
import { aggregated, type Notes, replayed, workerSpec } from './replay.test-support.ts';

/** Sums over a replay, in which a change of any decision or duration shows. Times in ms. */
interface Golden {
  readonly completed: number;
  readonly cachedTokens: number;
  readonly firstTokenMs: number;
  readonly latencyMs: number;
  readonly endMs: number;
  readonly preemptions: number;
  /** Requests by worker. */
  readonly requests: readonly number[];
}

function figuresOf({ records, endMs, runs }: Notes): Golden {
  const done = records.filter(({ outcome }) => outcome === 0);
  const sum = (of: (record: (typeof records)[number]) => number): number =>
    done.reduce((total, record) => total + of(record), 0);
  return {
    completed: done.length,
    cachedTokens: sum(({ cachedTokens }) => cachedTokens),
    firstTokenMs: Math.round(sum(({ firstTokenMs, arrivalMs }) => firstTokenMs - arrivalMs)),
    latencyMs: Math.round(sum(({ lastTokenMs, arrivalMs }) => lastTokenMs - arrivalMs)),
    endMs: Math.round(endMs),
    preemptions: sum(({ preemptions }) => preemptions),
    requests: (runs[0]?.workers ?? []).map((_, worker) => done.filter((record) => record.worker === worker).length),
  };
}

// When a change of behaviour is meant, the new figures are in the failure: they belong here after a look at why they changed.
describe('replays of a Mooncake-like trace, as they were before', () => {
  const trace = () => generateMooncakeLike({ requests: 900, seed: 4 });
  const small = { totalBlocks: 6000 };

  it('KV routing', async () => {
    const { notes } = await replayed(trace(), aggregated(3, small), { router: { mode: 'kv' }, load: { speedup: 2 } });
    expect(figuresOf(notes)).to.deep.equal({
      completed: 900,
      cachedTokens: 662016,
      firstTokenMs: 595882,
      latencyMs: 12446873,
      endMs: 210093,
      preemptions: 0,
      requests: [294, 292, 314],
    });
  });

  it('round robin', async () => {
    const { notes } = await replayed(trace(), aggregated(3, small), {
      router: { mode: 'round-robin' },
      load: { speedup: 2 },
    });
    expect(figuresOf(notes)).to.deep.equal({
      completed: 900,
      cachedTokens: 555008,
      firstTokenMs: 1276405,
      latencyMs: 12751490,
      endMs: 225532,
      preemptions: 4,
      requests: [300, 300, 300],
    });
  });

  it('SGLang, the router’s queue, many requests at once', async () => {
    const workers = aggregated(2, { kind: 'sglang', blockSize: 16, totalBlocks: 9000 });
    const { notes } = await replayed(trace(), workers, { router: { queueThreshold: 1 }, load: { concurrency: 24 } });
    expect(figuresOf(notes)).to.deep.equal({
      completed: 900,
      cachedTokens: 463360,
      firstTokenMs: 1396074,
      latencyMs: 12769081,
      endMs: 562669,
      preemptions: 12,
      requests: [409, 491],
    });
  });

  it('TensorRT-LLM, little memory', async () => {
    const workers = aggregated(2, { kind: 'trtllm', blockSize: 32, totalBlocks: 4200 });
    const { notes } = await replayed(trace(), workers, { load: { speedup: 1.5 } });
    expect(figuresOf(notes)).to.deep.equal({
      completed: 900,
      cachedTokens: 469504,
      firstTokenMs: 116393118,
      latencyMs: 127758456,
      endMs: 565166,
      preemptions: 0,
      requests: [486, 414],
    });
  });

  it('prefill and decode apart', async () => {
    const transfer = { gigabytesPerSecond: 25, bytesPerToken: 131_072, mode: 'destination_missing' } as const;
    const workers = [workerSpec('prefill'), workerSpec('prefill'), workerSpec('decode', { transfer })];
    const { notes } = await replayed(trace(), workers);
    expect(figuresOf(notes)).to.deep.equal({
      completed: 900,
      cachedTokens: 1241600,
      firstTokenMs: 511473,
      latencyMs: 3716518,
      endMs: 383132,
      preemptions: 0,
      requests: [0, 0, 900],
    });
  });
});
