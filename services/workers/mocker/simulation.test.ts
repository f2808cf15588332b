import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { fixedTiming } from '#core/scheduling/engine/timing.ts';
import { ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { FinishReason } from '#gen/stator/engine/v1/generate_pb.ts';
import { Tier } from '#gen/stator/events/v1/events_pb.ts';
import { WorkerRole } from '#gen/stator/model/v1/model_pb.ts';
import { defaultSettings } from '#lib/config/settings.ts';
import { MemoryDiscovery, MemoryHub } from '#lib/discovery/memory.ts';
import { until } from '#lib/rpc/testing/wait.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { EngineDriver } from '../common/conformance-driver.ts';
import type { StepBatch } from '../common/engine.ts';
import { mockerOptions, mockerSettings } from './config.ts';
import { MockerEngine } from './engine.ts';
import { defaultMockerOptions, type MockerOptions } from './options.ts';
import { startMockerWorker } from './service.ts';
import { rejection } from './testing.ts';
import { readTiming } from './timing-file.ts';

const prompt = Array.from({ length: 40 }, (_, i) => 40 + i);
const stop = { maxTokens: 12, ignoreEos: true };
const sampling = { temperature: 0 };

describe('mocker: what it simulates', () => {
  const drivers: EngineDriver[] = [];

  async function start(options: Partial<MockerOptions> = {}): Promise<EngineDriver> {
    const driver = new EngineDriver(new MockerEngine({ meanOutputTokens: 0, ...options }));
    drivers.push(driver);
    await driver.host.start(new AbortController().signal, () => {});
    return driver;
  }

  afterEach(async () => {
    for (const driver of drivers.splice(0)) {
      expect(driver.faults).to.deep.equal([]);
      await driver.host.engine.stop();
    }
  });

  it('ranks schedule and cache for themselves; a request without a rank goes to the one with the least to do', async () => {
    const driver = await start({ ranks: 3, stepMs: 1 });
    expect(driver.host.card.parallelism?.data).to.equal(3);
    const runs = [0, 1, 2].map((i) => driver.submit({ tokenIds: [i + 3, ...prompt], sampling, stop }));
    expect(
      driver.host.load().map(({ runningSequences, queuedSequences }) => runningSequences + queuedSequences),
    ).to.deep.equal([1, 1, 1]);
    const fourth = driver.submit({ tokenIds: prompt, sampling, stop, dataParallelRank: 2 });
    expect(driver.host.load()[2]?.queuedSequences).to.equal(2);
    await Promise.all([...runs, fourth].map((run) => run.ended));
    const ranks = [...driver.host.engine.kvSnapshot()].map(({ dataParallelRank }) => dataParallelRank);
    expect(new Set(ranks)).to.deep.equal(new Set([0, 1, 2]));
    const elsewhere = await driver.run({ tokenIds: [3, ...prompt], sampling, stop, dataParallelRank: 1 });
    const there = await driver.run({ tokenIds: [3, ...prompt], sampling, stop, dataParallelRank: 1 });
    expect([elsewhere, there].map((run) => run.ends[0]?.usage?.cachedTokens)).to.deep.equal([0, 32]);
    // The driver's mirror knows no ranks, and two of them have the same blocks now.
    driver.faults.length = 0;
  });

  it('a prefill hands its KV over with one token; a decode goes on from there without computing the prompt', async () => {
    const aggregated = await start();
    const whole = await aggregated.run({ tokenIds: prompt, sampling, stop });
    const prefill = await start({ role: 'prefill' });
    expect(prefill.host.card).to.include({ role: WorkerRole.PREFILL });
    expect(prefill.host.card.needs[0]?.roles).to.deep.equal([WorkerRole.PREFILL, WorkerRole.DECODE]);
    const half = await prefill.run({ tokenIds: prompt, sampling, stop, prefillOnly: true });
    expect(half.reason).to.equal(FinishReason.HANDOFF);
    expect(half.tokens).to.deep.equal(whole.tokens.slice(0, 1));
    const handoff = half.ends[0]?.handoff;
    expect(handoff).to.include({ tokens: prompt.length, firstTokenId: half.tokens[0] });
    expect(prefill.host.load()[0]?.activeKvBlocks).to.equal(3n);
    const decode = await start({ role: 'decode' });
    const passes = decode.host.passes.open();
    const rest = await decode.run({
      tokenIds: [...prompt, ...half.tokens],
      sampling,
      resumedOutputTokens: 1,
      stop: { ...stop, maxTokens: 11 },
      ...(handoff !== undefined && { handoff }),
    });
    expect(rest.tokens).to.deep.equal(whole.tokens.slice(1));
    expect(passes.passes.length).to.equal(11);
    expect(passes.passes.every(({ prefillTokens }) => prefillTokens === 0)).to.equal(true);
    const { engine } = prefill.host;
    expect(await engine.releaseHandoff?.(handoff?.handoffId ?? '')).to.equal(true);
    expect(await engine.releaseHandoff?.(handoff?.handoffId ?? '')).to.equal(false);
    expect(prefill.host.load()[0]?.activeKvBlocks).to.equal(0n);
  });

  it('takes the blocks of a handoff back that nobody fetches in time', async () => {
    const driver = await start({ handoffTtlMs: 10 });
    await driver.run({ tokenIds: prompt, sampling, stop, prefillOnly: true });
    await until(() => driver.host.load()[0]?.activeKvBlocks === 0n, 'the blocks are free again');
  });

  it('a decode waits for its KV as long as the transfer takes', async () => {
    const transfer = { gigabytesPerSecond: 0.001, bytesPerToken: 500, mode: 'full_prompt' } as const;
    const driver = await start({ simulation: { transfer } });
    const begin = performance.now();
    const run = await driver.run({ tokenIds: prompt, sampling, stop, handoff: { handoffId: 'h' } });
    expect(performance.now() - begin).to.be.at.least(prompt.length / 2);
    expect(run.tokens).to.have.length(12);
  });

  it('thinks for a part of its output, and goes on thinking after a migration', async () => {
    const driver = await start({ reasoning: { startTokenId: 5, endTokenId: 6, ratio: 0.5 } });
    const whole = await driver.run({ tokenIds: prompt, sampling, stop });
    expect([whole.tokens[0], whole.tokens[5]]).to.deep.equal([5, 6]);
    expect(whole.tokens.filter((token) => token === 5 || token === 6)).to.have.length(2);
    const rest = await driver.run({
      tokenIds: [...prompt, ...whole.tokens.slice(0, 3)],
      resumedOutputTokens: 3,
      sampling,
      stop: { ...stop, maxTokens: 9 },
    });
    expect(rest.tokens).to.deep.equal(whole.tokens.slice(3));
  });

  it('does not run ahead of simulated time, and says how long its passes take', async () => {
    const driver = await start({ timing: fixedTiming({ prefillMsPerToken: 0.5, decodeMs: 3 }) });
    const passes = driver.host.passes.open();
    const begin = performance.now();
    await driver.run({ tokenIds: prompt, sampling, stop });
    const [first, ...others] = passes.passes.map(({ durationUs }) => durationUs);
    expect(first).to.equal(20_000);
    expect(others).to.deep.equal(new Array<number>(11).fill(3000));
    expect(performance.now() - begin).to.be.at.least(20 + 11 * 3 - 1);
  });

  it('tells of blocks that move to host memory and disk', async () => {
    const offload = {
      hostBlocks: 4,
      diskBlocks: 4,
      hostGigabytesPerSecond: 0,
      diskGigabytesPerSecond: 0,
      bytesPerToken: 0,
    };
    const engine = new MockerEngine({ kvBlocks: 4, contextLength: 64, simulation: { offload } });
    const tiers = new Set<Tier>();
    const ended = Promise.withResolvers<void>();
    let ends = 0;
    const onStep = ({ kvEvents, finished }: StepBatch): void => {
      for (const { change } of kvEvents) if (change.case === 'stored') tiers.add(change.value.tier);
      ends += finished.length;
      if (ends === 6) ended.resolve();
    };
    await engine.start({ onStep, onFatal: ended.reject }, { signal: new AbortController().signal });
    const { create } = await import('@bufbuild/protobuf');
    const { GenerateRequestSchema } = await import('#gen/stator/engine/v1/generate_pb.ts');
    for (let i = 1; i <= 6; i++)
      engine.submit(i, create(GenerateRequestSchema, { tokenIds: prompt.map((token) => token + i), stop }));
    await ended.promise;
    await engine.stop();
    expect([...tiers].toSorted()).to.deep.equal([Tier.DEVICE, Tier.HOST, Tier.DISK]);
  });
});

describe('mocker: settings', () => {
  const settings = (changes: Parameters<typeof defaultSettings<typeof mockerSettings>>[1]) =>
    defaultSettings(mockerSettings, changes);

  it('give the default options unless something is set', () => {
    const options = mockerOptions(settings({}), undefined);
    for (const name of Object.keys(defaultMockerOptions) as (keyof MockerOptions)[])
      if (name !== 'simulation') expect(options[name], name).to.deep.equal(defaultMockerOptions[name]);
    expect(options.simulation.acceptRates).to.equal(undefined);
  });

  it('are refused by name where they make no sense', () => {
    const cases = [
      [{ acceptRates: ['0.5', 'much'] }, 'accept_rates'],
      [{ reasoning: '{' }, 'reasoning'],
      [{ reasoning: '{"start_thinking_token_id":5,"end_thinking_token_id":6,"thinking_ratio":2}' }, 'reasoning'],
      [{ reasoning: 'null' }, 'reasoning'],
      [{ zmqReplay: 'tcp://127.0.0.1:1' }, 'zmq_replay'],
    ] as const;
    for (const [changes, field] of cases)
      expect(() => mockerOptions(settings(changes), undefined), JSON.stringify(changes))
        .to.throw()
        .with.property('field', field);
  });

  it('read how long passes take from a file', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'stator-timing-'));
    try {
      const good = path.join(folder, 'profile.json');
      const profile = {
        prefill_isl: [0, 100],
        prefill_ttft_ms: [0, 50],
        decode_active_kv_tokens: [0, 10],
        decode_context_length: [0, 10],
        decode_itl: [
          [7, 7],
          [7, 7],
        ],
      };
      await writeFile(good, JSON.stringify(profile));
      expect((await readTiming(good)).prefillMs(30, 1)).to.equal(15);
      const bad = path.join(folder, 'profile.npz');
      await writeFile(bad, 'something else');
      for (const file of [bad, path.join(folder, 'missing.json')])
        expect(await rejection(readTiming(file))).to.include({ code: 'invalid_argument', field: 'timing_profile' });
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('start several workers in one process, each an instance of its own', async () => {
    const telemetry = quietTelemetry();
    const discovery = new MemoryDiscovery(new MemoryHub(), { namespace: 'test', telemetry });
    const watch = discovery.watch(ServiceKind.WORKER);
    const config = settings({ workers: 4, listen: '127.0.0.1:0', drainNoticeMs: 0, canaryIdleSeconds: 0 });
    const parts = { telemetry, discovery, shutdown: new AbortController().signal, instanceId: 7n };
    const service = await startMockerWorker(config, parts);
    await until(() => watch.instances().size === 4, 'four are registered');
    const instances = [...watch.instances().values()];
    expect(new Set(instances.map(({ address }) => address)).size).to.equal(4);
    expect(instances.map(({ instanceId }) => instanceId).toSorted()).to.deep.equal([11n, 13n, 7n, 9n]);
    expect(instances.some(({ address }) => address === service.address)).to.equal(true);
    await service.stop();
    await until(() => watch.instances().size === 0, 'none is left');
    const named = settings({ workers: 2, advertise: '127.0.0.1:9' });
    expect(await rejection(startMockerWorker(named, parts))).to.include({ field: 'advertise' });
    await discovery.close();
  });
});
