import { expect } from 'chai';
import type { EngineKind, EngineSettings } from './settings.ts';
import { createSimulatedEngine } from './simulated-engine.ts';
import { CacheFollower, drive, settingsOf, snapshotBlocks, workload } from './workload.test-support.ts';

const variants: Readonly<Record<string, Partial<EngineSettings>>> = {
  plain: {},
  'few blocks': { totalBlocks: 22 },
  'first admitted is preempted': { totalBlocks: 22, preemption: 'fifo' },
  'without chunks': { chunkedPrefill: false, maxBatchedTokens: 80 },
  'without prefix caching': { prefixCaching: false },
  'few sequences': { maxSequences: 2 },
  'blocks of one token': { blockSize: 1, totalBlocks: 130 },
  speculation: { acceptRates: [0.9, 0.4], seed: 7, totalBlocks: 26 },
  'lower tiers': {
    totalBlocks: 24,
    offload: {
      hostBlocks: 20,
      diskBlocks: 30,
      hostGigabytesPerSecond: 0.001,
      diskGigabytesPerSecond: 0.0005,
      bytesPerToken: 500,
    },
  },
};

const kinds: readonly (readonly [string, EngineKind, Partial<EngineSettings>])[] = [
  ['vllm', 'vllm', {}],
  ['trtllm', 'trtllm', {}],
  ['sglang', 'sglang', {}],
  [
    'sglang, longest prefix first',
    'sglang',
    { sglang: { ...settingsOf().sglang, policy: 'lpm', chunkedPrefillTokens: 16 } },
  ],
];

describe('simulated engine: what holds for every schedule', () => {
  for (const [name, kind, own] of kinds)
    for (const [variant, changes] of Object.entries(variants))
      it(`${name}: ${variant}`, () => {
        for (let seed = 1; seed <= 4; seed++) check(seed, settingsOf({ ...own, ...changes, kind }));
      });
});

function check(seed: number, settings: EngineSettings): void {
  const requests = workload(seed, 40, settings);
  const engine = createSimulatedEngine(settings);
  const follower = new CacheFollower();
  const outcomes = drive(engine, requests, {
    onStep(step, load) {
      const { pass } = step;
      expect(pass.prefillTokens + pass.decodeSequences, 'token budget').to.be.at.most(settings.maxBatchedTokens);
      expect(step.count, 'who decodes has tokens').to.be.at.least(pass.decodeSequences);
      expect(step.count).to.be.at.most(pass.decodeSequences + pass.prefillSequences);
      expect(load.running, 'sequence limit').to.be.at.most(settings.maxSequences);
      expect(load.activeBlocks + load.cachedBlocks, 'blocks').to.be.at.most(settings.totalBlocks);
      expect(load.pendingPrefillTokens, 'pending prefill').to.be.at.least(0);
      expect(step.durationMs).to.be.greaterThan(0);
    },
    onChanges(taken) {
      follower.apply(taken);
      expect(follower.blocks(), 'events replayed').to.deep.equal(snapshotBlocks(engine));
    },
  });
  for (const [index, outcome] of outcomes.entries()) {
    const { promptTokens, maxTokens } = requests[index] ?? { promptTokens: 0, maxTokens: 0 };
    const room = Math.min(settings.contextLength, settings.totalBlocks * settings.blockSize) - promptTokens;
    expect(outcome.finished, 'finished').to.equal(true);
    expect(outcome.tokens, 'tokens').to.equal(
      Math.min(maxTokens, room, settings.chunkedPrefill ? room : settings.maxBatchedTokens - promptTokens),
    );
    expect(outcome.cachedTokens).to.be.lessThan(promptTokens);
  }
  const { running, waiting, activeBlocks, pendingPrefillTokens } = engine.load;
  expect({ running, waiting, activeBlocks, pendingPrefillTokens }).to.deep.equal({
    running: 0,
    waiting: 0,
    activeBlocks: 0,
    pendingPrefillTokens: 0,
  });
  expect(engine.clearCache()).to.equal(follower.blocks().length);
  follower.apply(engine.takeKvChanges());
  expect(follower.blocks()).to.deep.equal([]);
}

describe('simulated engine: fast-forward', () => {
  for (const [name, kind, own] of kinds)
    it(`${name}: changes nothing, to the last bit`, () => {
      for (const [variant, changes] of Object.entries(variants)) {
        if (kind === 'trtllm' && variant === 'few blocks') continue;
        for (let seed = 1; seed <= 3; seed++) {
          const settings = settingsOf({ ...own, ...changes, kind });
          const [slow, fast] = [false, true].map((fastForward) => runWith(seed, settings, fastForward));
          expect(fast, `${variant}, seed ${seed}`).to.deep.equal(slow);
        }
      }
    });

  it('does most of the work where little arrives', () => {
    const settings = settingsOf({ totalBlocks: 400, contextLength: 2048 });
    const engine = createSimulatedEngine(settings);
    const requests = workload(3, 20, settings).map((request) => ({ ...request, maxTokens: 50, arrivalMs: 0 }));
    let steps = 0;
    drive(engine, requests, { fastForward: true, onStep: () => steps++ });
    expect(steps).to.be.lessThan(60);
  });
});

function runWith(seed: number, settings: EngineSettings, fastForward: boolean) {
  const follower = new CacheFollower();
  const engine = createSimulatedEngine(settings);
  const outcomes = drive(engine, workload(seed, 40, settings), {
    fastForward,
    onChanges: (changes) => follower.apply(changes),
  });
  return { outcomes, events: follower.events, load: engine.load };
}
