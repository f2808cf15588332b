import { create } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { defaultEngineSettings } from '#core/scheduling/engine/settings.ts';
import { polynomialTiming } from '#core/scheduling/engine/timing.ts';
import { FinishReason, GenerateRequestSchema } from '#gen/stator/engine/v1/generate_pb.ts';
import { describeEngine } from '../common/conformance.ts';
import { EngineDriver } from '../common/conformance-driver.ts';
import { MockerEngine } from './engine.ts';
import type { MockerOptions } from './options.ts';

describeEngine('mocker, as fast as possible', () => new MockerEngine());
describeEngine(
  'mocker, in bursts over a small cache',
  () => new MockerEngine({ burst: 3, kvBlocks: 64, contextLength: 1024 }),
);
describeEngine(
  'mocker, paced',
  () => new MockerEngine({ stepMs: 1, tokensPerSecond: 2000, prefillTokensPerSecond: 20_000 }),
);
describeEngine(
  'mocker, like SGLang with pages of one token',
  () => new MockerEngine({ kind: 'sglang', blockSize: 1, kvBlocks: 4096, contextLength: 1024 }),
);
describeEngine(
  'mocker, like TensorRT-LLM with two ranks',
  () => new MockerEngine({ kind: 'trtllm', ranks: 2, kvBlocks: 256, contextLength: 1024 }),
);
describeEngine(
  'mocker, timed by polynomials, with speculation and lower tiers',
  () =>
    new MockerEngine({
      timing: polynomialTiming,
      kvBlocks: 48,
      contextLength: 600,
      simulation: {
        speedup: 20,
        acceptRates: [0.8, 0.5],
        offload: { ...defaultEngineSettings.offload, hostBlocks: 64, diskBlocks: 64 },
      },
    }),
);

describe('MockerEngine', () => {
  const drivers: EngineDriver[] = [];

  async function start(options: Partial<MockerOptions>): Promise<EngineDriver> {
    const driver = new EngineDriver(new MockerEngine(options));
    drivers.push(driver);
    await driver.host.start(new AbortController().signal, () => {});
    return driver;
  }

  afterEach(async () => {
    for (const driver of drivers.splice(0)) await driver.host.engine.stop();
  });

  it('preempts when blocks run out, and every sequence is byte-exact all the same', async () => {
    const roomy = await start({});
    const tight = await start({ kvBlocks: 12, blockSize: 4, contextLength: 48 });
    const prompts = Array.from({ length: 8 }, (_, i) => [50 + i, 60, 70]);
    const expected: number[][] = [];
    for (const prompt of prompts) expected.push(await roomy.greedy(prompt, 30));
    const stop = { maxTokens: 30, ignoreEos: true };
    const runs = prompts.map((tokenIds) => tight.submit({ tokenIds, sampling: { temperature: 0 }, stop }));
    await Promise.all(runs.map((run) => run.ended));
    expect(runs.map((run) => run.tokens)).to.deep.equal(expected);
    expect(runs.every((run) => run.prefills.length === 1)).to.equal(true);
    expect(tight.faults).to.deep.equal([]);
    expect(tight.host.load()[0]?.activeKvBlocks).to.equal(0n);
  });

  it('writes words that people can read', async () => {
    const driver = await start({});
    const tokens = await driver.greedy([40, 41, 42], 400);
    const text = String.fromCharCode(...tokens.map((token) => token - 3));
    expect(text).to.match(/^[a-z .]+$/);
    expect(text.split(/[ .]+/).length).to.be.greaterThan(40);
  });

  it('folds the seed in only where it samples', async () => {
    const driver = await start({});
    const run = async (sampling: { temperature: number; seed?: bigint }): Promise<string> => {
      const stop = { maxTokens: 32, ignoreEos: true };
      return (await driver.run({ tokenIds: [9, 8, 7], sampling, stop })).tokens.join();
    };
    const greedy = await run({ temperature: 0, seed: 1n });
    expect(await run({ temperature: 0, seed: 2n })).to.equal(greedy);
    expect(await run({ temperature: 1, seed: 2n })).to.equal(await run({ temperature: 1, seed: 2n }));
    expect(await run({ temperature: 1, seed: 2n })).to.not.equal(await run({ temperature: 1, seed: 3n }));
  });

  it('honours logit_bias', async () => {
    const driver = await start({});
    const [first = 0] = await driver.greedy([30, 31], 1);
    const stop = { maxTokens: 1, ignoreEos: true };
    const banned = await driver.run({
      tokenIds: [30, 31],
      sampling: { temperature: 0, logitBias: { [first]: -100 } },
      stop,
    });
    expect(banned.tokens[0]).to.not.equal(first);
    const forced = await driver.run({
      tokenIds: [30, 31],
      sampling: { temperature: 0, logitBias: { 200: 100 } },
      stop,
    });
    expect(forced.tokens).to.deep.equal([200]);
  });

  it('ends by itself unless ignore_eos is set', async () => {
    const driver = await start({ meanOutputTokens: 16 });
    const run = await driver.run({ tokenIds: [77, 78], stop: { maxTokens: 4000 } });
    expect(run.reason).to.equal(FinishReason.STOP);
    expect(run.ends[0]?.stopTokenId).to.equal(2);
    const on = await driver.run({ tokenIds: [77, 78], stop: { maxTokens: 1000, ignoreEos: true } });
    expect(on.reason).to.equal(FinishReason.LENGTH);
    expect(on.tokens).to.have.length(1000);
  });

  it('stops where the context is full', async () => {
    const driver = await start({ contextLength: 64, meanOutputTokens: 0 });
    const run = await driver.run({ tokenIds: new Array<number>(60).fill(50) });
    expect(run.reason).to.equal(FinishReason.LENGTH);
    expect(run.tokens).to.have.length(4);
  });

  it('refuses what exceeds its queue', async () => {
    const driver = await start({ maxSequences: 1, maxQueuedSequences: 1, stepMs: 5 });
    const request = { tokenIds: [50], stop: { maxTokens: 2 } };
    const runs = [driver.submit(request), driver.submit(request)];
    expect(() => driver.submit(request))
      .to.throw()
      .with.property('code', 'overloaded');
    await Promise.all(runs.map((run) => run.ended));
  });

  it('runs the higher priority first', async () => {
    const driver = await start({ maxSequences: 1 });
    const order: string[] = [];
    const submit = (name: string, priority: number) => {
      const run = driver.submit({ tokenIds: [50], priority, stop: { maxTokens: 2, ignoreEos: true } });
      return run.ended.then(() => order.push(name));
    };
    await Promise.all([submit('low', 0), submit('middle', 1), submit('high', 2)]);
    expect(order).to.deep.equal(['high', 'middle', 'low']);
  });

  it('fails a sequence where it is told to', async () => {
    const faults = { failSequenceAfterTokens: 3, failEngineAfterTokens: 0, killAfterTokens: 0 };
    const driver = await start({ faults });
    const run = await driver.run({ tokenIds: [50], stop: { maxTokens: 9, ignoreEos: true } });
    expect(run.tokens).to.have.length(3);
    expect(run.ends[0]?.error).to.include({ code: 'engine_failed', retryable: true });
  });

  it('fails as a whole where it is told to: every sequence ends', async () => {
    const faults = { failSequenceAfterTokens: 0, failEngineAfterTokens: 10, killAfterTokens: 0 };
    const driver = await start({ faults });
    const request = create(GenerateRequestSchema, { tokenIds: [50], stop: { maxTokens: 90, ignoreEos: true } });
    const runs = [driver.submit(request), driver.submit(request)];
    for (const run of runs) expect((await run.ended).error?.code).to.equal('engine_failed');
    expect(() => driver.submit(request))
      .to.throw()
      .with.property('code', 'engine_failed');
  });
});
