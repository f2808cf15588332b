import { expect } from 'chai';
import { stepFlags } from './engine-model.ts';
import type { EngineSettings } from './settings.ts';
import { createSimulatedEngine } from './simulated-engine.ts';
import { fixedTiming } from './timing.ts';
import { CacheFollower, drive, requestOf, settingsOf, snapshotBlocks } from './workload.test-support.ts';

const parts = { timing: fixedTiming({ prefillMsPerToken: 1, decodeMs: 10 }) };

describe('simulated engine: disaggregation', () => {
  const transfer = { gigabytesPerSecond: 0.001, bytesPerToken: 1000, mode: 'full_prompt' } as const;

  it('a prefill ends with its first token, without a decode pass, and keeps its blocks until they are released', () => {
    const engine = createSimulatedEngine(settingsOf({ totalBlocks: 5 }), parts);
    engine.submit(requestOf(1, { tokens: 10, maxTokens: 50, role: 'prefill' }), 0);
    const step = engine.step(0);
    expect(step?.durationMs).to.equal(10);
    expect(step?.flags[0]).to.equal(stepFlags.first | stepFlags.finished | stepFlags.handoff);
    expect(engine.size).to.equal(0);
    expect(engine.load).to.include({ running: 0, activeBlocks: 3 });
    engine.submit(requestOf(2, { tokens: 12, maxTokens: 1 }), 10);
    expect(engine.step(10), 'two blocks are not enough').to.equal(undefined);
    expect(engine.releaseHandoff(1)).to.equal(true);
    expect(engine.releaseHandoff(1)).to.equal(false);
    expect(engine.step(10)?.count).to.equal(1);
  });

  for (const [mode, ms] of [
    ['full_prompt', 16],
    ['destination_missing', 8],
  ] as const)
    it(`${mode}: a decode begins when its KV has come, and computes no prompt`, () => {
      const engine = createSimulatedEngine(settingsOf({ transfer: { ...transfer, mode } }), parts);
      engine.submit(requestOf(1, { tokens: 9, shared: 9, family: 1, maxTokens: 1 }), 0);
      engine.step(0);
      engine.submit(requestOf(2, { tokens: 16, shared: 8, family: 1, maxTokens: 3, role: 'decode' }), 20);
      expect(engine.step(20)).to.equal(undefined);
      expect(engine.load).to.include({ running: 1, waiting: 0, pendingPrefillTokens: 0 });
      expect(engine.wakeAtMs).to.equal(20 + ms);
      expect(engine.step(20 + ms - 1)).to.equal(undefined);
      const step = engine.step(20 + ms);
      expect(step?.pass).to.include({ prefillTokens: 0, decodeSequences: 1 });
      expect(step?.durationMs).to.equal(10);
      expect(step?.cachedTokens[0]).to.equal(8);
      expect(engine.wakeAtMs).to.equal(undefined);
    });

  it('a cancelled transfer frees what it had reserved', () => {
    const engine = createSimulatedEngine(settingsOf({ transfer }), parts);
    engine.submit(requestOf(1, { tokens: 16, maxTokens: 3, role: 'decode' }), 0);
    engine.step(0);
    expect(engine.load.activeBlocks).to.equal(4);
    expect(engine.cancel(1)).to.equal(true);
    expect(engine.load).to.include({ activeBlocks: 0, running: 0 });
    expect(engine.wakeAtMs).to.equal(undefined);
  });
});

describe('simulated engine: lower tiers', () => {
  const offload = {
    hostBlocks: 4,
    diskBlocks: 4,
    hostGigabytesPerSecond: 0.001,
    diskGigabytesPerSecond: 0.0005,
    bytesPerToken: 250,
  };

  it('keeps what the device gives up, and brings it back in the time that it takes', () => {
    const engine = createSimulatedEngine(settingsOf({ totalBlocks: 5, offload }), parts);
    const follower = new CacheFollower();
    const run = (id: number, family: number, at: number) => {
      engine.submit(requestOf(id, { tokens: 16, shared: 16, family, maxTokens: 1 }), at);
      const step = engine.step(at);
      follower.apply(engine.takeKvChanges());
      return step;
    };
    run(1, 1, 0);
    run(2, 2, 100);
    expect(
      follower.blocks().filter((block) => block.startsWith('1 ')),
      'host',
    ).to.have.length(3);
    run(3, 3, 200);
    expect(
      follower.blocks().filter((block) => block.startsWith('2 ')),
      'disk',
    ).to.have.length(3);
    expect(follower.blocks()).to.deep.equal(snapshotBlocks(engine));
    // Two blocks of the second prompt lie on the host, at one millisecond each; one of them may still be on the device.
    expect(run(4, 2, 300)).to.equal(undefined);
    const wakeAtMs = engine.wakeAtMs ?? 0;
    expect(wakeAtMs).to.be.within(301, 306);
    const step = engine.step(wakeAtMs);
    expect(step?.cachedTokens[0]).to.equal(12);
    expect(step?.pass.prefillTokens).to.equal(4);
    follower.apply(engine.takeKvChanges());
    expect(follower.blocks()).to.deep.equal(snapshotBlocks(engine));
    expect(engine.clearCache()).to.equal(follower.blocks().length);
  });
});

describe('simulated engine: speculation', () => {
  it('gives more tokens a pass, as many in the mean as the rates say, the same for the same seed', () => {
    const settings = settingsOf({ acceptRates: [0.7, 0.5, 0.2], totalBlocks: 4000, contextLength: 16_000, seed: 3 });
    const steps = (seed: number): number[] => {
      const counts: number[] = [];
      drive(createSimulatedEngine({ ...settings, seed }), [requestOf(1, { tokens: 4, maxTokens: 8000 })], {
        onStep: ({ tokens }) => counts.push(tokens[0] ?? 0),
      });
      return counts;
    };
    const counts = steps(3);
    const expected = 1 + 0.7 + 0.7 * 0.5 + 0.7 * 0.5 * 0.2;
    expect(8000 / counts.length).to.be.closeTo(expected, 0.06);
    expect(Math.max(...counts)).to.equal(4);
    expect(steps(3)).to.deep.equal(counts);
    expect(steps(4)).to.not.deep.equal(counts);
  });

  it('never gives more than is wanted', () => {
    const settings = settingsOf({ acceptRates: [1, 1, 1] });
    const [outcome] = drive(createSimulatedEngine(settings), [requestOf(1, { tokens: 4, maxTokens: 6 })]);
    expect(outcome?.tokens).to.equal(6);
  });
});

describe('simulated engine: time', () => {
  it('is divided by the speedup, its decode part by both', () => {
    const steps = (changes: { speedup: number; decodeSpeedup: number }) => {
      const engine = createSimulatedEngine(settingsOf(changes), parts);
      engine.submit(requestOf(1, { tokens: 8, maxTokens: 2 }), 0);
      return [engine.step(0)?.durationMs, engine.step(10)?.durationMs];
    };
    expect(steps({ speedup: 2, decodeSpeedup: 5 })).to.deep.equal([8 / 2, 10 / 10]);
    expect(steps({ speedup: 0, decodeSpeedup: 1 })).to.deep.equal([0, 0]);
  });

  it('has a decode part for tokens that no prefill brings', () => {
    const durations = (changes: Partial<EngineSettings>) => {
      const engine = createSimulatedEngine(settingsOf(changes), parts);
      engine.submit(requestOf(1, { tokens: 8, maxTokens: 20 }), 0);
      const first = engine.step(0)?.durationMs;
      engine.submit(requestOf(2, { tokens: 4, maxTokens: 20 }), 100);
      return [first, engine.step(100)?.durationMs, engine.step(200)?.durationMs];
    };
    expect(durations({})).to.deep.equal([8, 4 + 10, 10]);
    expect(durations({ kind: 'trtllm' })).to.deep.equal([8, 4 + 10, 10]);
    expect(durations({ kind: 'sglang' })).to.deep.equal([8, 4, 10]);
    expect(durations({ acceptRates: [1] })).to.deep.equal([8 + 10, 4 + 10, 10]);
  });

  it("uses Dynamo's polynomials unless told otherwise", () => {
    const engine = createSimulatedEngine(settingsOf({ totalBlocks: 100 }));
    for (const id of [1, 2]) engine.submit(requestOf(id, { family: 1, shared: 8, tokens: 8, maxTokens: 2 }), 0);
    const prefill = engine.step(0);
    const { prefillTokens = 0 } = prefill?.pass ?? {};
    const prefillMs = 4.209989e-7 * prefillTokens ** 2 + 1.518344e-2 * prefillTokens + 16.50142;
    expect(prefill?.durationMs).to.be.closeTo(prefillMs, 1e-9);
    // Contexts of 9 tokens each in blocks of 4, although they share one.
    const used = (9 + 9) / 400;
    const decodeMs = -25.74 * used * used + 54.01 * used + 5.74;
    expect(engine.step(100)?.durationMs).to.be.closeTo(decodeMs, 1e-9);
  });
});
