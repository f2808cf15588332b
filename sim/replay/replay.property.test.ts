import { expect } from 'chai';
import fc from 'fast-check';
import { policyNames } from '#core/routing/factory.ts';
import type { EngineSettings } from '#core/scheduling/engine/settings.ts';
import type { WorkerSpec } from '../cluster/worker-spec.ts';
import { generateSynthetic } from '../traces/synthetic.ts';
import { replayed, workerSpec } from './replay.test-support.ts';

const number = (min: number, max: number): fc.Arbitrary<number> => fc.integer({ min, max });

const engines: fc.Arbitrary<Partial<EngineSettings>> = fc.record({
  kind: fc.constantFrom('vllm', 'sglang', 'trtllm'),
  blockSize: fc.constant(16),
  totalBlocks: number(60, 400),
  maxSequences: number(2, 16),
  maxBatchedTokens: number(64, 1024),
  transfer: fc.record({
    gigabytesPerSecond: fc.constantFrom(0, 1),
    bytesPerToken: fc.constant(100_000),
    mode: fc.constantFrom('full_prompt', 'destination_missing'),
  }),
});

const topologies: fc.Arbitrary<WorkerSpec[]> = fc
  .record({ engine: engines, counts: fc.tuple(number(1, 3), number(1, 3)), ranks: number(1, 3), apart: fc.boolean() })
  .map(({ engine, counts: [first, second], ranks, apart }) => {
    const of = (role: WorkerSpec['role'], count: number, delayMs: number): WorkerSpec[] =>
      Array.from({ length: count }, (_, at) => ({ ...workerSpec(role, engine), ranks, readyAfterMs: at * delayMs }));
    return apart ? [...of('prefill', first, 0), ...of('decode', second, 50)] : of('aggregated', first, 100);
  });

const scenarios = fc.record({
  workers: topologies,
  synthetic: fc.record({
    sessions: number(1, 25),
    inputTokens: number(1, 700),
    outputTokens: number(1, 60),
    spread: fc.constantFrom(0, 0.7),
    intervalMs: fc.constantFrom(0, 20, 300),
    arrivals: fc.constantFrom('constant', 'poisson', 'gamma'),
    burstShape: fc.constant(0.3),
    sharedPrefixRatio: fc.constantFrom(0, 0.6),
    prefixGroups: number(0, 3),
    turns: number(1, 4),
    turnTokens: number(1, 80),
    interTurnDelayMs: fc.constantFrom(0, 100),
    blockTokens: fc.constantFrom(16, 100),
    seed: number(0, 1000),
  }),
  concurrency: fc.constantFrom(undefined, 1, 4),
  router: fc.record({
    mode: fc.constantFrom(...policyNames.filter((name) => name !== 'direct')),
    queueThreshold: fc.constantFrom(0, 0.5),
    queueTimeoutMs: fc.constantFrom(200, 60_000),
    maxQueuedRequests: fc.constantFrom(3, 10_000),
    trackOutputBlocks: fc.boolean(),
    kvEvents: fc.boolean(),
    prefillLoadModel: fc.constantFrom('none', 'learned'),
    busyDecodeBlocks: fc.constantFrom(0, 0.5),
    sessionAffinity: fc.constantFrom('off', 'soft', 'hard'),
    temperature: fc.constantFrom(0, 0.7),
  }),
});

describe('every replay', () => {
  it('ends each request once and leaves nothing behind, whatever the deployment', async function () {
    this.timeout(120_000);
    await fc.assert(
      fc.asyncProperty(scenarios, async ({ workers, synthetic, concurrency, router }) => {
        const requests = [...generateSynthetic(synthetic)];
        const { notes, result } = await replayed(requests, workers, { load: { concurrency }, router });
        expect(notes.bySending.map(({ index }) => index)).to.deep.equal(requests.map((_, at) => at));
        expect(notes.errors).to.have.length(notes.records.filter(({ outcome }) => outcome !== 0).length);
        for (const record of notes.records.filter(({ outcome }) => outcome === 0)) {
          expect(record.startedMs).to.be.at.least(record.routedMs).and.at.least(record.arrivalMs);
          expect(record.lastTokenMs).to.be.at.least(record.firstTokenMs).and.at.least(record.startedMs);
          expect(record.cachedTokens).to.be.within(0, record.promptTokens);
          expect(record.outputTokens).to.be.at.least(1);
        }
        const last = notes.samples.at(-1);
        expect(last).to.include({ queued: 0, inFlight: 0, finished: requests.length });
        for (const column of [last?.running, last?.waiting, last?.usedBlocks])
          expect([...(column ?? [])]).to.deep.equal(workers.map(() => 0));
        expect(result.lateEnds).to.equal(0);
      }),
      { numRuns: 120 },
    );
  });
});
