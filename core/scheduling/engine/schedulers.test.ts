import { expect } from 'chai';
import { type EngineStep, RequestRejectedError, stepFlags } from './engine-model.ts';
import { createSimulatedEngine } from './simulated-engine.ts';
import { fixedTiming } from './timing.ts';
import { drive, requestOf, settingsOf } from './workload.test-support.ts';

const parts = { timing: fixedTiming({ prefillMsPerToken: 1, decodeMs: 10 }) };

/** Ids and flags of a pass, in order. */
function got(step: EngineStep | undefined): string[] {
  if (step === undefined) return [];
  return Array.from(step.ids.subarray(0, step.count), (id, i) => {
    const flags = step.flags[i] ?? 0;
    const first = (flags & stepFlags.first) === 0 ? '' : ' first';
    return `${id}${first}${(flags & stepFlags.finished) === 0 ? '' : ' end'}`;
  });
}

describe('vLLM-like scheduler', () => {
  it('computes a prompt in chunks of the token budget, and running sequences before it', () => {
    const engine = createSimulatedEngine(settingsOf(), parts);
    engine.submit(requestOf(1, { tokens: 8, maxTokens: 9 }), 0);
    const first = engine.step(0);
    expect(got(first)).to.deep.equal(['1 first']);
    expect(first?.durationMs).to.equal(8);
    engine.submit(requestOf(2, { tokens: 60, maxTokens: 2 }), 18);
    const second = engine.step(18);
    expect(got(second)).to.deep.equal(['1']);
    expect(second?.pass).to.include({
      prefillTokens: 31,
      prefillSequences: 1,
      decodeSequences: 1,
      decodeContextTokens: 9,
    });
    expect(second?.durationMs).to.equal(31 + 10);
    expect(engine.load.pendingPrefillTokens).to.equal(29);
    const third = engine.step(59);
    expect(got(third)).to.deep.equal(['1', '2 first']);
    expect(third?.pass.prefillTokens).to.equal(29);
    expect(got(engine.step(100))).to.deep.equal(['1', '2 end']);
  });

  it('finds cached blocks, but computes at least the last block of a prompt', () => {
    const engine = createSimulatedEngine(settingsOf(), parts);
    const shared = { family: 1, tokens: 16, shared: 16, maxTokens: 1 };
    engine.submit(requestOf(1, shared), 0);
    expect(engine.step(0)?.pass.prefillTokens).to.equal(16);
    engine.submit(requestOf(2, shared), 30);
    const again = engine.step(30);
    expect(again?.cachedTokens[0]).to.equal(12);
    expect(again?.pass.prefillTokens).to.equal(4);
    engine.submit(requestOf(3, { ...shared, bypassPrefixCache: true }), 60);
    expect(engine.step(60)?.cachedTokens[0]).to.equal(0);
  });

  it('shares blocks from the pass on that computes them', () => {
    const engine = createSimulatedEngine(settingsOf(), parts);
    for (const id of [1, 2]) engine.submit(requestOf(id, { family: 1, tokens: 16, shared: 8, maxTokens: 1 }), 0);
    const step = engine.step(0);
    expect(step?.pass.prefillTokens).to.equal(16 + 8);
    expect([...(step?.cachedTokens.subarray(0, 2) ?? [])]).to.deep.equal([0, 8]);
  });

  for (const [preemption, victim] of [
    ['lifo', 2],
    ['fifo', 1],
  ] as const)
    it(`${preemption}: takes the blocks of the sequence admitted ${preemption === 'lifo' ? 'last' : 'first'}, which begins again`, () => {
      const engine = createSimulatedEngine(settingsOf({ totalBlocks: 5, preemption, prefixCaching: false }), parts);
      for (const id of [1, 2]) engine.submit(requestOf(id, { tokens: 8, maxTokens: 12 }), 0);
      let nowMs = 0;
      const seen: string[][] = [];
      for (let step = engine.step(nowMs); step !== undefined; step = engine.step(nowMs)) {
        nowMs += step.durationMs;
        seen.push(got(step));
      }
      const both = seen.findIndex((ids) => ids.length === 1);
      // One block is left: it goes to whoever needs it first, then the other has none.
      expect(seen.slice(0, both).every((ids) => ids.length === 2)).to.equal(true);
      expect(seen[both]?.join()).to.match(new RegExp(`^${3 - victim}`));
      expect(seen.flat().filter((id) => id.includes('first'))).to.deep.equal(['1 first', '2 first']);
      expect(seen.flat().filter((id) => id.startsWith('1'))).to.have.length(12);
      expect(seen.flat().filter((id) => id.startsWith('2'))).to.have.length(12);
    });

  it('fifo: whoever is not preempted gets its token in the same pass, and nobody is admitted in it', () => {
    const engine = createSimulatedEngine(
      settingsOf({ totalBlocks: 7, preemption: 'fifo', prefixCaching: false }),
      parts,
    );
    for (const id of [1, 2, 3]) engine.submit(requestOf(id, { tokens: 7 - (id % 2), maxTokens: 9 }), 0);
    let nowMs = 0;
    let before: string[] = [];
    for (let passes = 0; passes < 20; passes++) {
      engine.submit(requestOf(100 + passes, { tokens: 1, maxTokens: 1, priority: -1 }), nowMs);
      const step = engine.step(nowMs);
      nowMs += step?.durationMs ?? 0;
      const ids = got(step).filter((text) => !text.includes(' '));
      if (before.length === 3 && ids.length < 3 && !before.some((id) => got(step).includes(`${id} end`))) {
        expect(ids).to.deep.equal(['2', '3']);
        expect(step?.pass).to.include({ decodeSequences: 2, prefillSequences: 0 });
        return;
      }
      before = ids;
    }
    throw new Error('nobody was preempted');
  });

  it('computes what it has generated again after a preemption, as prefill', () => {
    const engine = createSimulatedEngine(settingsOf({ totalBlocks: 5, prefixCaching: false }), parts);
    const requests = [1, 2].map((id) => requestOf(id, { tokens: 8, maxTokens: 12 }));
    const prefills: number[] = [];
    drive(engine, requests, { onStep: ({ pass }) => pass.prefillTokens > 0 && prefills.push(pass.prefillTokens) });
    const [first, again] = prefills;
    expect(first).to.equal(16);
    expect(again, 'prompt and output so far').to.be.within(9, 20);
    expect(prefills).to.have.length(2);
  });

  it('takes the higher priority first, and otherwise keeps the order of arrival', () => {
    const engine = createSimulatedEngine(settingsOf({ maxSequences: 1 }), parts);
    for (const [id, priority] of [
      [1, 0],
      [2, 5],
      [3, 5],
      [4, 9],
    ] as const)
      engine.submit(requestOf(id, { tokens: 4, maxTokens: 1, priority }), 0);
    expect([0, 20, 40, 60].flatMap((at) => got(engine.step(at)))).to.deep.equal(
      [4, 2, 3, 1].map((id) => `${id} first end`),
    );
  });

  it('cancels who waits and who runs, and frees their blocks at once', () => {
    const engine = createSimulatedEngine(settingsOf({ maxSequences: 1 }), parts);
    for (const id of [1, 2]) engine.submit(requestOf(id, { tokens: 8, maxTokens: 50 }), 0);
    engine.step(0);
    expect(engine.load).to.include({ running: 1, waiting: 1, activeBlocks: 2, pendingPrefillTokens: 8 });
    expect(engine.cancel(2)).to.equal(true);
    expect(engine.cancel(1)).to.equal(true);
    expect(engine.cancel(1)).to.equal(false);
    expect(engine.load).to.include({
      running: 0,
      waiting: 0,
      activeBlocks: 0,
      cachedBlocks: 2,
      pendingPrefillTokens: 0,
    });
    expect(engine.step(30)).to.equal(undefined);
  });

  it('refuses what can never run, and says by how much', () => {
    const engine = createSimulatedEngine(settingsOf({ totalBlocks: 10, contextLength: 100 }), parts);
    const cases = [
      [{ tokens: 0, maxTokens: 1 }, 'empty_prompt', 1],
      [{ tokens: 100, maxTokens: 1 }, 'longer_than_context', 100],
      [{ tokens: 40, maxTokens: 1 }, 'longer_than_pool', 40],
    ] as const;
    for (const [shape, reason, limit] of cases)
      expect(() => engine.submit(requestOf(1, shape), 0))
        .to.throw(RequestRejectedError)
        .that.includes({ reason, actual: shape.tokens, limit });
    engine.submit(requestOf(1, { tokens: 39, maxTokens: 1 }), 0);
    expect(() => engine.submit(requestOf(1, { tokens: 3, maxTokens: 1 }), 0)).to.throw('there already');
    const whole = createSimulatedEngine(settingsOf({ chunkedPrefill: false }), parts);
    expect(() => whole.submit(requestOf(1, { tokens: 32, maxTokens: 1 }), 0))
      .to.throw(RequestRejectedError)
      .that.includes({ reason: 'longer_than_pass', limit: 32 });
  });

  it('refuses settings with which nothing could run', () => {
    for (const changes of [
      { blockSize: 0 },
      { totalBlocks: 1.5 },
      { speedup: -1 },
      { decodeSpeedup: 0 },
      { acceptRates: [2] },
    ])
      expect(() => createSimulatedEngine(settingsOf(changes)), JSON.stringify(changes)).to.throw(RangeError);
  });
});

describe('TensorRT-LLM-like scheduler', () => {
  it('admits only what fits with all its output, so that nobody is preempted', () => {
    const engine = createSimulatedEngine(settingsOf({ kind: 'trtllm', totalBlocks: 10 }), parts);
    for (const id of [1, 2, 3]) engine.submit(requestOf(id, { tokens: 8, maxTokens: 12 }), 0);
    const first = engine.step(0);
    // Five blocks each: two fit, although the prompts of all three would.
    expect(got(first)).to.deep.equal(['1 first', '2 first']);
    let nowMs = first?.durationMs ?? 0;
    let passes = 1;
    for (let step = engine.step(nowMs); step !== undefined; step = engine.step(nowMs), passes++)
      nowMs += step.durationMs;
    expect(passes, 'passes without any recomputation').to.equal(2 * 12);
  });
});

describe('SGLang-like scheduler', () => {
  const sglang = { ...settingsOf().sglang, chunkedPrefillTokens: 16 };

  it('computes prompts alone, and lets who decodes wait for them', () => {
    const engine = createSimulatedEngine(settingsOf({ kind: 'sglang', sglang }), parts);
    engine.submit(requestOf(1, { tokens: 8, maxTokens: 5 }), 0);
    expect(got(engine.step(0))).to.deep.equal(['1 first']);
    engine.submit(requestOf(2, { tokens: 40, maxTokens: 5 }), 18);
    const chunks = [18, 34, 50].map((at) => engine.step(at));
    expect(chunks.map((step) => step?.pass.prefillTokens)).to.deep.equal(
      [16, 16, 16]
        .map(() => 16)
        .slice(0, 2)
        .concat(8),
    );
    expect(chunks.map(got)).to.deep.equal([[], [], ['2 first']]);
    expect(got(engine.step(70))).to.deep.equal(['1', '2']);
  });

  it('admits fewer the more output it expects', () => {
    const admitted = (conservativeness: number): number => {
      const settings = settingsOf({ kind: 'sglang', totalBlocks: 30, sglang: { ...sglang, conservativeness } });
      const engine = createSimulatedEngine(settings, parts);
      for (let id = 1; id <= 6; id++) engine.submit(requestOf(id, { tokens: 8, maxTokens: 32 }), 0);
      for (let at = 0; at < 100; at += 20) engine.step(at);
      return engine.load.running;
    };
    expect(admitted(1)).to.be.lessThan(admitted(0.1));
  });

  it('expects less output with every pass, made alone or in runs', () => {
    const admitted = (passes: number, alone: boolean): number => {
      const settings = settingsOf({ kind: 'sglang', totalBlocks: 300, contextLength: 1200 });
      const engine = createSimulatedEngine(settings, parts);
      engine.submit(requestOf(1, { tokens: 4, maxTokens: 700 }), 0);
      for (let made = 0; made < passes; ) {
        const run = alone ? undefined : engine.run(made * 20, (made + 1) * 1e6, passes - made);
        if (run === undefined) engine.step(made * 20);
        made += run?.steps ?? 1;
      }
      for (let id = 2; id < 40; id++) engine.submit(requestOf(id, { tokens: 8, maxTokens: 60 }), 1e9);
      for (let pass = 0; pass < 4; pass++) engine.step(1e9 + pass * 100);
      return engine.load.running;
    };
    expect(admitted(400, true)).to.equal(admitted(400, false));
    expect(admitted(400, true)).to.be.greaterThan(admitted(2, true));
  });

  it('retracts the sequence with the least output when the pool runs out', () => {
    const settings = settingsOf({ kind: 'sglang', totalBlocks: 12, sglang: { ...sglang, clipMaxNewTokens: 1 } });
    const engine = createSimulatedEngine(settings, parts);
    const requests = [0, 1, 2].map((i) => requestOf(i + 1, { tokens: 8, maxTokens: 16, arrivalMs: 60 * i }));
    const outputs = new Map<number, number>();
    let retracted = 0;
    let before: number[] = [];
    drive(engine, requests, {
      onStep(step) {
        const ids = [...step.ids.subarray(0, step.count)];
        for (const id of ids) outputs.set(id, (outputs.get(id) ?? 0) + 1);
        const gone = before.filter((id) => !ids.includes(id) && (outputs.get(id) ?? 0) < 16);
        if (gone.length > 0 && step.pass.prefillTokens === 0) {
          retracted++;
          expect(Math.max(...gone.map((id) => outputs.get(id) ?? 0))).to.be.at.most(
            Math.min(...ids.map((id) => outputs.get(id) ?? 0)),
          );
        }
        if (step.pass.prefillTokens === 0) before = ids;
      },
    });
    expect(retracted).to.be.greaterThan(0);
  });

  it('lpm: takes the longest cached prefix first', () => {
    const settings = settingsOf({ kind: 'sglang', maxSequences: 1, sglang: { ...sglang, policy: 'lpm' } });
    const engine = createSimulatedEngine(settings, parts);
    engine.submit(requestOf(1, { tokens: 16, shared: 16, family: 1, maxTokens: 1 }), 0);
    engine.step(0);
    for (const [id, shared] of [
      [2, 0],
      [3, 8],
      [4, 12],
    ] as const)
      engine.submit(requestOf(id, { tokens: 16, shared, family: 1, maxTokens: 1 }), 30);
    expect([30, 60, 90].flatMap((at) => got(engine.step(at)))).to.deep.equal([4, 3, 2].map((id) => `${id} first end`));
  });
});
