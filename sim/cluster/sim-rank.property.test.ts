import { expect } from 'chai';
import fc from 'fast-check';
import { ReferenceKvIndex } from '#core/kv-index/reference-index.ts';
import {
  RequestRejectedError,
  type SimulatedEngine,
  type SimulatedRequest,
} from '#core/scheduling/engine/engine-model.ts';
import { defaultEngineSettings, type EngineSettings } from '#core/scheduling/engine/settings.ts';
import { createSimulatedEngine } from '#core/scheduling/engine/simulated-engine.ts';
import { VirtualClock } from '../clock/virtual-clock.ts';
import { PromptHasher } from '../traces/prompt-content.ts';
import { KvFeed } from './kv-feed.ts';
import { SimRank } from './sim-rank.ts';

interface Submission {
  readonly atMs: number;
  readonly promptTokens: number;
  readonly outputTokens: number;
  readonly group: number;
}

interface Script {
  readonly settings: EngineSettings;
  readonly submissions: readonly Submission[];
  /** When somebody looks at the engine. */
  readonly looksMs: readonly number[];
  readonly delayMs: number;
}

const number = (min: number, max: number): fc.Arbitrary<number> => fc.integer({ min, max });

const scripts: fc.Arbitrary<Script> = fc.record({
  settings: fc
    .record({
      kind: fc.constantFrom('vllm', 'sglang', 'trtllm'),
      blockSize: fc.constantFrom(1, 4, 16),
      totalBlocks: number(40, 200),
      maxSequences: number(1, 12),
      maxBatchedTokens: number(16, 256),
      preemption: fc.constantFrom('lifo', 'fifo'),
      speedup: fc.constantFrom(1, 7),
      chunkedPrefill: fc.boolean(),
      acceptRates: fc.constantFrom<number[]>([], [], [0.7]),
    })
    .map((some): EngineSettings => ({ ...defaultEngineSettings, ...some })),
  submissions: fc.array(
    fc.record({
      atMs: fc.double({ min: 0, max: 3000, noNaN: true }),
      promptTokens: number(1, 150),
      outputTokens: number(1, 120),
      group: number(0, 4),
    }),
    { minLength: 1, maxLength: 30 },
  ),
  looksMs: fc.array(fc.double({ min: 0, max: 6000, noNaN: true }), { maxLength: 20 }),
  delayMs: fc.constantFrom(0, 3, 40),
});

/** Everything that can be seen of the engine, in the order in which it is seen. */
function seen({ settings, submissions, looksMs, delayMs }: Script, everyPass: boolean): string[] {
  const log: string[] = [];
  const note = (...values: readonly unknown[]): number => log.push(values.map(shown).join(' '));
  const clock = new VirtualClock();
  const index = new ReferenceKvIndex({ maxBlocks: 100_000 });
  const slot = index.addSlot();
  const engine = createSimulatedEngine(settings);
  const rank = new SimRank({
    engine: everyPass ? withoutRuns(engine) : engine,
    settings,
    clock,
    feed: new KvFeed({ index, slot: () => slot, delayMs }),
    listener: {
      first: ({ id }) => note('first', id, clock.nowMs),
      finished: (sequence) => note('finished', clock.nowMs, sequence),
      output: () => {},
    },
    tellsOutput: false,
  });
  const hasher = new PromptHasher(settings.blockSize);
  for (const [at, submission] of submissions.entries())
    clock.after(submission.atMs, () => {
      try {
        rank.submit(requestOf(at + 1, submission, hasher));
      } catch (thrown) {
        if (!(thrown instanceof RequestRejectedError)) throw thrown;
        note('rejected', at + 1, thrown.reason);
      }
    });
  for (const atMs of looksMs)
    clock.after(atMs, () => {
      rank.sync();
      note('look', clock.nowMs, rank.load, index.stats.entries);
    });
  while (clock.runNext());
  rank.sync();
  expect(rank.lateEnds).to.equal(0);
  note('end', index.stats.entries, rank.passes);
  return log;
}

function requestOf(
  id: number,
  { promptTokens, outputTokens, group, atMs }: Submission,
  hasher: PromptHasher,
): SimulatedRequest {
  const prompt = { ids: Float64Array.of(group), lengths: Uint32Array.of(promptTokens) };
  const sequenceHashes = hasher.hash(prompt, promptTokens).slice();
  return { id, promptTokens, sequenceHashes, maxTokens: outputTokens, arrivalMs: atMs };
}

/** Every number with a point: whole ones are the same in both runs by chance alone. */
function shown(value: unknown): string {
  if (typeof value === 'number') return value.toFixed(9);
  if (typeof value !== 'object' || value === null) return String(value);
  return Object.entries(value)
    .map(([name, part]) => `${name}=${shown(part)}`)
    .join(' ');
}

/** Sums of durations differ in their last bits by the order in which they were added. */
function expectSame(a: readonly string[], b: readonly string[]): void {
  const numbers = /-?\d+\.\d+(e-?\d+)?/g;
  expect(a.map((line) => line.replace(numbers, '#'))).to.deep.equal(b.map((line) => line.replace(numbers, '#')));
  const [first, second] = [a, b].map((lines) => lines.join('\n').match(numbers)?.map(Number) ?? []);
  for (const [at, value] of (first ?? []).entries()) expect(value).to.be.closeTo(second?.[at] ?? Number.NaN, 1e-6);
}

function withoutRuns(engine: SimulatedEngine): SimulatedEngine {
  return new Proxy(engine, {
    get(target, name) {
      if (name === 'run') return () => undefined;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

describe('SimRank', () => {
  it('lets nobody see that passes are made together', () => {
    fc.assert(
      fc.property(scripts, (script) => {
        expectSame(seen(script, false), seen(script, true));
      }),
      { numRuns: 150 },
    );
  });
});
