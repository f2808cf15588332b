import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { generateMooncakeLike } from './mooncake-like.ts';
import { openTrace } from './open-trace.ts';
import { generateSynthetic, type SyntheticOptions } from './synthetic.ts';
import type { TraceRequest } from './trace-request.ts';
import { writeTrace } from './write-trace.ts';

const defaults: SyntheticOptions = {
  sessions: 2000,
  inputTokens: 1000,
  outputTokens: 100,
  spread: 0,
  intervalMs: 10,
  arrivals: 'constant',
  burstShape: 0.25,
  sharedPrefixRatio: 0,
  prefixGroups: 0,
  turns: 1,
  turnTokens: 50,
  interTurnDelayMs: 0,
  blockTokens: 64,
  seed: 5,
};

const synthetic = (options: Partial<SyntheticOptions> = {}): TraceRequest[] => [
  ...generateSynthetic({ ...defaults, ...options }),
];

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Part of all prompt tokens that a cache without bounds would have. */
function idealHitRate(requests: readonly TraceRequest[]): number {
  const seen = new Set<number>();
  let hits = 0;
  let tokens = 0;
  for (const { prompt, promptTokens } of requests) {
    tokens += promptTokens;
    for (let run = 0; run < prompt.ids.length && seen.has(prompt.ids[run] ?? 0); run++)
      hits += prompt.lengths[run] ?? 0;
    for (const id of prompt.ids) seen.add(id);
  }
  return hits / tokens;
}

function gaps(requests: readonly TraceRequest[]): number[] {
  const times = requests.map(({ arrivalMs = 0 }) => arrivalMs);
  return times.slice(1).map((time, at) => time - (times[at] ?? 0));
}

describe('generated traces', () => {
  it('Mooncake-like: rate, lengths and shared prefixes of the published trace', () => {
    for (const seed of [1, 2]) {
      const requests = [...generateMooncakeLike({ requests: 12_000, seed })];
      const last = requests.at(-1)?.arrivalMs ?? 0;
      const prompts = requests.map(({ promptTokens }) => promptTokens).sort((a, b) => a - b);
      const outputs = requests.map(({ outputTokens }) => outputTokens).sort((a, b) => a - b);
      expect(requests).to.have.length(12_000);
      expect(mean(prompts)).to.be.within(11_300, 12_700);
      expect(mean(outputs)).to.be.within(333, 353);
      expect(idealHitRate(requests)).to.be.within(0.35, 0.42);
      expect(last / 3_600_000).to.be.within(0.95, 1.05);
      expect(gaps(requests).every((gap) => gap >= 0 && gap % 3000 === 0)).to.equal(true);
      for (const [sorted, published] of [
        [prompts, [964, 6909, 27_367]],
        [outputs, [24, 350, 597]],
      ] as const)
        for (const [at, level] of [0.1, 0.5, 0.9].entries())
          expect(sorted[Math.floor(level * 12_000)]).to.be.within(
            (published[at] ?? 0) * 0.8,
            (published[at] ?? 0) * 1.2,
          );
      expect(prompts.at(-1)).to.be.within(100_000, 126_195);
      for (const { prompt, promptTokens } of requests.slice(0, 500))
        expect(prompt.lengths.reduce((sum, length) => sum + length, 0)).to.equal(promptTokens);
    }
  });

  it('are the same for a seed and others for another', () => {
    const text = (requests: Iterable<TraceRequest>): string => JSON.stringify([...requests].map(flat));
    const mooncake = (seed: number): string => text(generateMooncakeLike({ requests: 200, seed }));
    expect(mooncake(1)).to.equal(mooncake(1)).and.not.to.equal(mooncake(2));
    const uneven = { sessions: 200, spread: 0.5, arrivals: 'gamma', prefixGroups: 3, sharedPrefixRatio: 0.5 } as const;
    expect(text(synthetic(uneven))).to.equal(text(synthetic(uneven)));
    expect(text(synthetic(uneven))).not.to.equal(text(synthetic({ ...uneven, seed: 6 })));
  });

  it('synthetic: arrivals of each process', () => {
    expect(new Set(gaps(synthetic()))).to.deep.equal(new Set([10]));
    const cases: [Partial<SyntheticOptions>, number][] = [
      [{ arrivals: 'poisson' }, 1],
      [{ arrivals: 'gamma' }, 2],
    ];
    for (const [options, variation] of cases) {
      const found = gaps(synthetic({ sessions: 20_000, ...options }));
      expect(mean(found)).to.be.closeTo(10, 0.7);
      expect(Math.sqrt(mean(found.map((gap) => (gap - 10) ** 2))) / 10).to.be.closeTo(variation, 0.2);
    }
    expect(new Set(gaps(synthetic({ intervalMs: 0, arrivals: 'poisson' })))).to.deep.equal(new Set([0]));
  });

  it('synthetic: lengths, with and without spread', () => {
    expect(
      synthetic().every(({ promptTokens, outputTokens }) => promptTokens === 1000 && outputTokens === 100),
    ).to.equal(true);
    const spread = synthetic({ sessions: 20_000, spread: 0.6 });
    expect(mean(spread.map(({ promptTokens }) => promptTokens))).to.be.closeTo(1000, 30);
    expect(new Set(spread.map(({ promptTokens }) => promptTokens)).size).to.be.above(500);
  });

  it('synthetic: groups share the first part of their prompts', () => {
    const requests = synthetic({ sessions: 400, sharedPrefixRatio: 0.5, prefixGroups: 4 });
    expect(new Set(requests.map(({ prompt }) => prompt.ids[7])).size).to.equal(4);
    expect(new Set(requests.map(({ prompt }) => prompt.ids[8])).size).to.equal(400);
    expect(idealHitRate(requests)).to.be.closeTo(0.51, 0.01);
    expect(idealHitRate(synthetic())).to.equal(0);
  });

  it('synthetic: turns contain what came before', () => {
    const requests = synthetic({ sessions: 2, turns: 3, interTurnDelayMs: 7, blockTokens: 100, outputTokens: 150 });
    expect(requests.map(({ promptTokens }) => promptTokens)).to.deep.equal([1000, 1200, 1400, 1000, 1200, 1400]);
    expect(requests.map(({ delayMs }) => delayMs)).to.deep.equal([undefined, 7, 7, undefined, 7, 7]);
    expect(requests.map(({ sessionId }) => sessionId)).to.deep.equal(['s0', 's0', 's0', 's1', 's1', 's1']);
    expect(requests[2]?.prompt.ids.slice(0, 12)).to.deep.equal(requests[1]?.prompt.ids);
  });

  it('can be written and read again', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'generated-'));
    const path = join(folder, 'trace.jsonl');
    const requests = synthetic({ sessions: 50, turns: 2, spread: 0.4, sharedPrefixRatio: 0.3, prefixGroups: 2 });
    expect(await writeTrace(path, requests)).to.equal(100);
    const read: TraceRequest[] = [];
    for await (const request of openTrace(path, { ...unshared, format: 'mooncake' })) read.push(request);
    expect(read.map(flat)).to.deep.equal(requests.map(flat));
    expect(readFileSync(path, 'utf8').split('\n')).to.have.length(101);
    rmSync(folder, { recursive: true });
  });
});

const unshared = { blockTokens: 64, sharedPrefixRatio: 0, prefixGroups: 0 };

function flat({ prompt, ...request }: TraceRequest): object {
  return { ...request, ids: [...prompt.ids], lengths: [...prompt.lengths] };
}
