import { expect } from 'chai';
import { policyNames } from '#core/routing/factory.ts';
import { fixedTiming } from '#core/scheduling/engine/timing.ts';
import { generateMooncakeLike } from '../traces/mooncake-like.ts';
import { generateSynthetic, type SyntheticOptions } from '../traces/synthetic.ts';
import { plainRequest, shapeOfBlocks, type TraceRequest } from '../traces/trace-request.ts';
import { aggregated, replayed, workerSpec } from './replay.test-support.ts';

const synthetic: SyntheticOptions = {
  sessions: 300,
  inputTokens: 2000,
  outputTokens: 40,
  spread: 0.3,
  intervalMs: 60,
  arrivals: 'poisson',
  burstShape: 1,
  sharedPrefixRatio: 0.8,
  prefixGroups: 24,
  turns: 1,
  turnTokens: 100,
  interTurnDelayMs: 0,
  blockTokens: 64,
  seed: 3,
};

function request(line: number, arrivalMs: number, more: Partial<TraceRequest> = {}): TraceRequest {
  const { promptTokens = 640 } = more;
  const ids = Array.from({ length: Math.ceil(promptTokens / 64) }, (_, at) => line * 1000 + at);
  const prompt = shapeOfBlocks(ids, 64, promptTokens, -line);
  return { ...plainRequest, line, arrivalMs, prompt, promptTokens, outputTokens: 3, ...more };
}

/** Prompts at 10 tokens a millisecond, decode passes of 8 ms. */
const steady = fixedTiming({ prefillMsPerToken: 0.1, decodeMs: 8 });

describe('replay', () => {
  it('of one request is the sum of its passes', async () => {
    const specs = [{ ...workerSpec('aggregated'), timing: steady }];
    const { notes, result } = await replayed([request(1, 7000)], specs);
    const [record] = notes.records;
    expect(record).to.include({
      index: 0,
      arrivalMs: 0,
      routedMs: 0,
      startedMs: 0,
      promptTokens: 640,
      outputTokens: 3,
    });
    expect(record).to.include({ worker: 0, prefillWorker: 0, cachedTokens: 0, outcome: 0 });
    expect(record).to.include({ firstTokenMs: 64, lastTokenMs: 64 + 2 * 8, longestGapMs: 8 });
    expect(result).to.include({ requests: 1, passes: 3, lateEnds: 0, virtualMs: 80 });
    expect(notes.endMs).to.equal(80);
  });

  it('finds what an earlier request left in the cache', async () => {
    const same = { prompt: request(1, 0).prompt };
    const { notes } = await replayed([request(1, 0), request(2, 5000, same)], aggregated(2));
    const [, second] = notes.bySending;
    expect(second).to.include({ cachedTokens: 576, worker: notes.bySending[0]?.worker });
  });

  it('routes a request when the frontend is through with it', async () => {
    const frontend = { ms: 5, msPerToken: 0.01 };
    const plain = (await replayed([request(1, 0)], aggregated(2))).notes.bySending[0];
    const { notes, result } = await replayed([request(1, 0)], aggregated(2), { more: { frontend } });
    const [delayed] = notes.bySending;
    const delayMs = 5 + 0.01 * (delayed?.promptTokens ?? 0);
    expect((delayed?.routedMs ?? 0) - (delayed?.arrivalMs ?? 0)).to.be.closeTo(delayMs, 1e-9);
    expect(delayed?.firstTokenMs).to.be.closeTo((plain?.firstTokenMs ?? 0) + delayMs, 1e-6);
    expect(result.requests).to.equal(1);
  });

  it('sees at each decision what is cached by then, as late as asked for', async () => {
    const prompts = Array.from({ length: 8 }, (_, at) => request(at + 1, at * 100));
    const again = prompts.map(({ prompt }, at) => request(at + 11, 2000 + at * 100, { prompt }));
    const found = async (kvEventDelayMs: number): Promise<number> => {
      const more = { kvEventDelayMs, sampleMs: 1e6 };
      const { notes } = await replayed([...prompts, ...again], aggregated(3), { router: { loadPollMs: 60_000 }, more });
      return notes.bySending.slice(8).filter(({ cachedTokens }) => cachedTokens === 576).length;
    };
    expect(await found(0)).to.equal(8);
    expect(await found(1500)).to.equal(8);
    expect(await found(10_000)).to.be.below(7);
  });

  it('ends every request, whatever the mode', async () => {
    for (const mode of policyNames.filter((name) => name !== 'direct')) {
      const { notes, result } = await replayed(generateSynthetic(synthetic), aggregated(4), { router: { mode } });
      expect(notes.records, mode).to.have.length(300);
      expect(
        notes.records.every(({ outcome }) => outcome === 0),
        mode,
      ).to.equal(true);
      expect(result.lateEnds, mode).to.equal(0);
      for (const { arrivalMs, routedMs, startedMs, firstTokenMs, lastTokenMs } of notes.records) {
        expect(routedMs).to.be.at.least(arrivalMs);
        expect(startedMs).to.be.at.least(routedMs);
        expect(firstTokenMs).to.be.above(startedMs);
        expect(lastTokenMs).to.be.at.least(firstTokenMs);
      }
    }
  });

  it('shows that KV routing finds more of shared prefixes than taking turns', async () => {
    const run = (mode: 'kv' | 'round-robin'): ReturnType<typeof replayed> =>
      replayed(generateSynthetic({ ...synthetic, intervalMs: 250 }), aggregated(4, { totalBlocks: 400 }), {
        router: { mode },
      });
    const kv = await run('kv');
    const turns = await run('round-robin');
    expect(kv.notes.hitRate).to.be.above(turns.notes.hitRate + 0.15);
    const meanTtft = (notes: typeof kv.notes): number =>
      notes.records.reduce((sum, { firstTokenMs, arrivalMs }) => sum + firstTokenMs - arrivalMs, 0) / 300;
    expect(meanTtft(kv.notes)).to.be.below(meanTtft(turns.notes));
  });

  it('is the same for a seed, and another where chance has a part', async () => {
    const run = async (seed: number): Promise<string> => {
      const router = { mode: 'random' } as const;
      const { notes, result } = await replayed(generateSynthetic(synthetic), aggregated(4), { router, more: { seed } });
      return JSON.stringify([notes.records, notes.samples, result]);
    };
    expect(await run(1))
      .to.equal(await run(1))
      .and.not.to.equal(await run(2));
  });

  it('keeps so many in flight as asked for, and no fewer', async () => {
    const requests = generateSynthetic({ ...synthetic, sessions: 60, intervalMs: 0 });
    const { notes } = await replayed(requests, aggregated(2), { load: { concurrency: 5 }, more: { sampleMs: 50 } });
    expect(notes.records).to.have.length(60);
    const most = Math.max(...notes.samples.map(({ inFlight }) => inFlight));
    expect(most).to.equal(5);
    const changes = notes.records
      .flatMap(({ arrivalMs, lastTokenMs }) => [
        { atMs: arrivalMs, by: 1 },
        { atMs: lastTokenMs, by: -1 },
      ])
      .sort((a, b) => a.atMs - b.atMs || a.by - b.by);
    let inFlight = 0;
    for (const { by } of changes.slice(0, 100)) {
      inFlight += by;
      expect(inFlight).to.be.within(0, 5);
    }
  });

  it('sends arrivals faster, at an interval, and no more than asked for', async () => {
    const requests = [0, 100, 400].map((atMs, at) => request(at + 1, 50 + atMs));
    const arrivals = async (load: object): Promise<number[]> =>
      (await replayed(requests, aggregated(1), { load })).notes.bySending.map(({ arrivalMs }) => arrivalMs);
    expect(await arrivals({})).to.deep.equal([0, 100, 400]);
    expect(await arrivals({ speedup: 4 })).to.deep.equal([0, 25, 100]);
    expect(await arrivals({ intervalMs: 30 })).to.deep.equal([0, 30, 60]);
    expect(await arrivals({ maxRequests: 2 })).to.deep.equal([0, 100]);
  });

  it('sends the turns of a session one after the other', async () => {
    const session = { sessionId: 'a', follows: 'session' } as const;
    const { notes } = await replayed(
      [
        request(1, 10, session),
        request(2, 20, { ...session, arrivalMs: undefined, delayMs: 500 }),
        request(3, 12, {}),
        request(4, 700, session),
      ],
      aggregated(1),
    );
    const [first, other, second, third] = notes.bySending;
    expect(other?.arrivalMs).to.equal(2);
    expect(second?.arrivalMs).to.be.closeTo((first?.lastTokenMs ?? 0) + 500, 1e-6);
    expect(third?.arrivalMs).to.be.closeTo((second?.lastTokenMs ?? 0) + 690, 1e-6);
  });

  it('sends steps of a workflow when what they wait for is over', async () => {
    const step = (line: number, waitFor: readonly string[], delayMs = 0): TraceRequest =>
      request(line, line, {
        requestId: `r${line}`,
        waitFor,
        delayMs,
        follows: waitFor.length > 0 ? 'requests' : 'nothing',
      });
    const { notes } = await replayed(
      [step(1, []), step(2, []), step(3, ['r1', 'r2'], 40), step(4, ['r3'])],
      aggregated(1),
    );
    const [first, second, third, fourth] = notes.bySending;
    const both = Math.max(first?.lastTokenMs ?? 0, second?.lastTokenMs ?? 0);
    expect(third?.arrivalMs).to.be.closeTo(both + 40, 1e-6);
    expect(fourth?.arrivalMs).to.be.closeTo(third?.lastTokenMs ?? 0, 1e-6);
  });

  it('says which request waits for one that never comes, and which has no time', async () => {
    const messageOf = (run: Promise<unknown>): Promise<string> =>
      run.then(
        () => 'it ran',
        (thrown: unknown) => (thrown instanceof Error ? thrown.message : String(thrown)),
      );
    const waits = request(2, 2, { requestId: 'b', follows: 'requests', waitFor: ['absent'] });
    expect(await messageOf(replayed([request(1, 0), waits], aggregated(1)))).to.equal(
      'Line 2 of the trace waits for the request absent, which never ends.',
    );
    const timeless = request(1, 0, { arrivalMs: undefined });
    expect(await messageOf(replayed([timeless], aggregated(1)))).to.include('Line 1 of the trace has no time');
  });

  it('finds the output of a turn in the prompt of the next', async () => {
    const session = { sessionId: 'a', follows: 'session' } as const;
    const outputTokens = 128;
    const first = request(1, 0, { ...session, outputTokens, outputId: 77 });
    const ids = Float64Array.from([...first.prompt.ids, 77, 78]);
    const prompt = { ids, lengths: Uint32Array.from([...first.prompt.lengths, 128, 64]) };
    const second = request(2, 0, { ...session, arrivalMs: undefined, prompt, promptTokens: 832 });
    const { notes } = await replayed([first, second], aggregated(2));
    // The last token of the output was never computed, so that its block is not full.
    expect(notes.bySending[1]).to.include({ cachedTokens: 704, worker: notes.bySending[0]?.worker });
  });

  it('reports what router and workers refuse', async () => {
    const long = request(1, 0, { promptTokens: 64 * 100 });
    const failed = await replayed([long], aggregated(1, { totalBlocks: 50 }));
    expect(failed.notes.records[0]).to.include({ outcome: 2, worker: -1 });
    expect(failed.notes.errors).to.deep.equal(['invalid_argument']);
    const crowd = Array.from({ length: 40 }, (_, at) => request(at + 1, 0, { promptTokens: 8192 }));
    const router = { queueThreshold: 1, maxQueuedRequests: 5 };
    const { notes } = await replayed(crowd, aggregated(2), { router });
    expect(notes.records.filter(({ outcome }) => outcome === 1).length).to.be.above(10);
    expect(new Set(notes.errors)).to.deep.equal(new Set(['overloaded']));
    const waited = notes.records.filter(({ routedMs, arrivalMs }) => routedMs > arrivalMs);
    expect(waited).to.have.length(5);
  });

  it('counts how often sequences gave up their blocks', async () => {
    const crowd = Array.from({ length: 12 }, (_, at) => request(at + 1, at, { outputTokens: 400 }));
    const { notes } = await replayed(crowd, aggregated(1, { totalBlocks: 140 }));
    const roomy = await replayed(crowd, aggregated(1));
    expect(notes.records.every(({ outputTokens }) => outputTokens === 400)).to.equal(true);
    expect(notes.records.some(({ preemptions }) => preemptions > 0)).to.equal(true);
    expect(roomy.notes.records.every(({ preemptions }) => preemptions === 0)).to.equal(true);
  });

  it('ends requests that waited for too long in the router', async () => {
    const crowd = Array.from({ length: 6 }, (_, at) => request(at + 1, 0, { promptTokens: 64_000 }));
    const { notes } = await replayed(crowd, aggregated(1), { router: { queueThreshold: 1, queueTimeoutMs: 100 } });
    expect(new Set(notes.errors)).to.deep.equal(new Set(['queue_timeout']));
    expect(notes.records.filter(({ outcome }) => outcome === 0).length).to.be.above(0);
  });

  it('runs prefill and decode on workers of their own', async () => {
    const bytesPerToken = 131_072;
    const transfer = { gigabytesPerSecond: 10, bytesPerToken, mode: 'full_prompt' } as const;
    const specs = [workerSpec('prefill'), workerSpec('prefill'), workerSpec('decode', { transfer })];
    const { notes } = await replayed([request(1, 0), ...generateSynthetic({ ...synthetic, sessions: 50 })], specs);
    expect(notes.records.every(({ outcome }) => outcome === 0)).to.equal(true);
    expect(new Set(notes.records.map(({ worker }) => worker))).to.deep.equal(new Set([2]));
    expect(new Set(notes.records.map(({ prefillWorker }) => prefillWorker))).to.deep.equal(new Set([0, 1]));
    const alone = specs.map((spec) => ({ ...spec, timing: steady }));
    const [record] = (await replayed([request(1, 0)], alone)).notes.records;
    // The prompt, its way of 8.39 ms, and a pass for the first token.
    const transferMs = (640 * bytesPerToken) / 10e6;
    expect(record?.firstTokenMs).to.be.closeTo(64 + transferMs + 8, 1e-6);
    expect(record?.startedMs).to.equal(0);
    expect(record?.lastTokenMs).to.be.closeTo(64 + transferMs + 3 * 8, 1e-6);
  });

  it('waits for the first worker, and takes those that come later', async () => {
    const specs = [500, 2000].map((readyAfterMs) => ({ ...workerSpec('aggregated'), readyAfterMs }));
    const { notes } = await replayed(generateSynthetic(synthetic), specs);
    expect(notes.records.every(({ outcome }) => outcome === 0)).to.equal(true);
    expect(notes.bySending[0]?.arrivalMs).to.equal(500);
    const late = notes.records.filter(({ worker }) => worker === 1);
    expect(Math.min(...late.map(({ routedMs }) => routedMs))).to.be.at.least(2000);
  });

  it('runs every data parallel rank', async () => {
    const specs = [{ ...workerSpec('aggregated'), ranks: 4 }];
    const one = await replayed(generateSynthetic({ ...synthetic, intervalMs: 5 }), aggregated(1));
    const four = await replayed(generateSynthetic({ ...synthetic, intervalMs: 5 }), specs);
    expect(four.notes.endMs).to.be.below(one.notes.endMs);
    expect(four.notes.runs[0]?.workers).to.deep.equal([
      { name: 'worker 1', role: 'aggregated', ranks: 4, totalBlocks: 65_536, blockSize: 64 },
    ]);
  });

  it('samples sums that agree with the records', async () => {
    const { notes } = await replayed(generateMooncakeLike({ requests: 150, seed: 2 }), aggregated(2));
    const last = notes.samples.at(-1);
    expect(last).to.include({ inFlight: 0, finished: 150, queued: 0 });
    expect(last?.outputTokens).to.equal(notes.records.reduce((sum, { outputTokens }) => sum + outputTokens, 0));
    expect(last?.cachedTokens).to.equal(notes.records.reduce((sum, { cachedTokens }) => sum + cachedTokens, 0));
    expect(notes.samples.some(({ running }) => running.some((count) => count > 0))).to.equal(true);
    const times = notes.samples.map(({ atMs }) => atMs);
    expect(times).to.deep.equal(times.toSorted((a, b) => a - b));
  });

  it('refuses workers that cannot serve together, and stops when told to', async () => {
    const messageOf = async (run: Promise<unknown>): Promise<string> => {
      const thrown: unknown = await run.then(
        () => 'it ran',
        (error: unknown) => error,
      );
      return thrown instanceof Error ? thrown.message : String(thrown);
    };
    const mixed = [workerSpec('aggregated'), workerSpec('decode')];
    expect(await messageOf(replayed([request(1, 0)], mixed))).to.include('either do both stages');
    const sizes = [workerSpec('aggregated'), workerSpec('aggregated', { blockSize: 32 })];
    expect(await messageOf(replayed([request(1, 0)], sizes))).to.include('blocks of one size, not of 64 and 32');
    expect(await messageOf(replayed([request(1, 0)], []))).to.include('at least one worker');
    const signal = AbortSignal.abort();
    const endless = generateSynthetic({ ...synthetic, sessions: 1e9 });
    expect(await messageOf(replayed(endless, aggregated(1), { more: { signal } }))).to.include('aborted');
  });
});
