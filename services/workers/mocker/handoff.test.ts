import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { FinishReason, type GenerateResponse } from '#gen/stator/engine/v1/generate_pb.ts';
import type { KvHandoff } from '#gen/stator/transfer/v1/handoff_pb.ts';
import { defaultSettings } from '#lib/config/settings.ts';
import { startTcpAgent } from '#lib/transfer/tcp/agent.ts';
import { workerSettings } from '../common/config.ts';
import type { MockerOptions } from './options.ts';
import { collect, startTestWorker, type TestWorker } from './testing.ts';

const blockBytes = 4096;
const prompt = Array.from({ length: 100 }, (_, index) => 3 + ((index * 7) % 200));
const sampling = { temperature: 1, seed: 42n };
const stop = { maxTokens: 20, ignoreEos: true };

/** The value of one series of a worker; 0 where it has none. */
async function metric({ telemetry }: TestWorker, series: string): Promise<number> {
  const text = await telemetry.metrics.metrics();
  const line = text.split('\n').find((each) => each.startsWith(`${series} `));
  return Number(line?.slice(series.length + 1) ?? 0);
}

const byModel = (name: string): string => `stator_worker_${name}{model="synthetic"}`;

/** Whether nothing is staged or fetched any more. */
async function isIdle(worker: TestWorker): Promise<boolean> {
  const series = ['handoffs_staged', 'handoff_staged_bytes', 'handoff_pulling_bytes', 'kv_holding', 'kv_fetching'];
  const values = await Promise.all(series.map((name) => metric(worker, byModel(name))));
  return values.every((value) => value === 0);
}

async function pulls(worker: TestWorker, backend: string, outcome: string): Promise<number> {
  return metric(
    worker,
    `stator_worker_handoff_pulls_total{model="synthetic",backend="${backend}",outcome="${outcome}"}`,
  );
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (const end = performance.now() + 30_000; performance.now() < end; await delay(2)) if (await holds()) return;
  throw new Error(`waited in vain: ${what}`);
}

describe('handing KV over', () => {
  const workers: TestWorker[] = [];

  afterEach(async () => {
    for (const worker of workers.splice(0)) await worker[Symbol.asyncDispose]();
  });

  async function start(engine: Partial<MockerOptions> = {}, config: Record<string, unknown> = {}): Promise<TestWorker> {
    const worker = await startTestWorker({
      engine: { kvBlockBytes: blockBytes, ...engine },
      config: defaultSettings(workerSettings, {
        ...{ drainNoticeMs: 0, canaryIdleSeconds: 0, shutdownGraceSeconds: 5 },
        ...config,
      }),
      instanceId: BigInt(100 + workers.length),
    });
    workers.push(worker);
    return worker;
  }

  async function prefill(worker: TestWorker, tokenIds = prompt): Promise<{ handoff: KvHandoff; first: number }> {
    const { tokens, last } = await collect(worker.client.generate({ tokenIds, sampling, stop, prefillOnly: true }));
    expect(last?.finishReason).to.equal(FinishReason.HANDOFF);
    expect(tokens).to.have.length(1);
    if (last?.handoff === undefined) throw new Error('there is no handoff');
    return { handoff: last.handoff, first: tokens[0] ?? 0 };
  }

  async function decode(
    worker: TestWorker,
    { handoff, first }: { handoff: KvHandoff; first: number },
    tokenIds = prompt,
  ): Promise<{ tokens: readonly number[]; last: GenerateResponse | undefined }> {
    return collect(
      worker.client.generate({
        tokenIds: [...tokenIds, first],
        sampling,
        stop: { ...stop, maxTokens: stop.maxTokens - 1 },
        resumedOutputTokens: 1,
        handoff,
      }),
    );
  }

  for (const backend of ['shm', 'tcp'] as const) {
    it(`goes on over ${backend} with the same bytes, without computing the prompt again`, async () => {
      const [one, two] = [await start({}, { handoffBackends: backend }), await start({}, { handoffBackends: backend })];
      const whole = await collect(one.client.generate({ tokenIds: prompt, sampling, stop }));
      await one.client.clearCache({});
      const half = await prefill(one);
      expect(half.handoff).to.include({ tokens: 96, firstTokenId: half.first, holderAddress: one.worker.address });
      expect(half.handoff.offers.map((offer) => offer.backend)).to.deep.equal([backend]);
      expect(await metric(one, byModel('handoff_staged_bytes'))).to.equal(6 * blockBytes);
      // What is staged is a copy.
      await one.client.clearCache({});
      const rest = await decode(two, half);
      expect([half.first, ...rest.tokens]).to.deep.equal(whole.tokens);
      expect(rest.last?.usage?.cachedTokens).to.equal(96);
      expect(await pulls(two, backend, 'ok')).to.equal(1);
      await until('the prefill worker has freed it', () => isIdle(one));
      await until('the decode worker holds nothing', () => isIdle(two));
      expect(await metric(one, 'stator_worker_handoffs_freed_total{model="synthetic",because="released"}')).to.equal(1);
    });
  }

  it('fetches only what decode lacks', async () => {
    const [one, two] = [await start(), await start()];
    await collect(two.client.generate({ tokenIds: prompt.slice(0, 40), sampling, stop: { maxTokens: 1 } }));
    const { tokens } = await decode(two, await prefill(one));
    expect(tokens).to.have.length(19);
    expect(await metric(two, 'stator_worker_handoff_pulled_bytes_total{model="synthetic",backend="shm"}')).to.equal(
      4 * blockBytes,
    );
    const again = await decode(two, await prefill(one));
    expect(again.tokens).to.deep.equal(tokens);
    expect(await pulls(two, '', 'cached')).to.equal(1);
    await until('all is freed', () => isIdle(one));
  });

  it('computes the prompt where the KV is gone, damaged, or of something else, with the same result', async () => {
    const [one, two] = [await start(), await start()];
    const whole = await collect(one.client.generate({ tokenIds: prompt, sampling, stop }));
    const expectSame = async (outcome: string, change: (handoff: KvHandoff) => KvHandoff | Promise<KvHandoff>) => {
      const half = await prefill(one);
      const { tokens, last } = await decode(two, { ...half, handoff: await change(half.handoff) });
      expect([half.first, ...tokens], outcome).to.deep.equal(whole.tokens);
      expect(last?.usage?.cachedTokens, outcome).to.equal(0);
      await two.client.clearCache({});
      await until('it is freed', () => isIdle(one));
      const text = await two.telemetry.metrics.metrics();
      expect(text, outcome).to.match(
        new RegExp(`handoff_pulls_total\\{model="synthetic",backend="[a-z]*",outcome="${outcome}"\\} 1`),
      );
    };
    await expectSame('failed', async (handoff) => {
      await one.client.releaseHandoff({ handoffId: handoff.handoffId });
      return handoff;
    });
    await expectSame('expired', (handoff) => ({ ...handoff, deadlineUnixMs: 1n }));
    await expectSame('damaged', (handoff) => {
      const blockChecksums = Uint8Array.from(handoff.blockChecksums);
      blockChecksums[40] = (blockChecksums[40] ?? 0) ^ 1;
      return { ...handoff, blockChecksums };
    });
    await expectSame('mismatch', (handoff) => ({ ...handoff, prefixDigest: new Uint8Array(32) }));
  });

  it('is not read twice, nor after it was released', async () => {
    const [one, two] = [await start(), await start()];
    const half = await prefill(one);
    expect((await one.client.releaseHandoff({ handoffId: half.handoff.handoffId })).released).to.equal(true);
    expect((await one.client.releaseHandoff({ handoffId: half.handoff.handoffId })).released).to.equal(false);
    expect((await decode(two, half)).last?.usage?.cachedTokens).to.equal(0);
  });

  it('frees what nobody fetches in time', async () => {
    const one = await start({}, { handoffTtlSeconds: 0.5 });
    await prefill(one);
    await until('it is freed', () => isIdle(one));
    expect(await metric(one, 'stator_worker_handoffs_freed_total{model="synthetic",because="expired"}')).to.equal(1);
  });

  it('hands over nothing, and loses nothing, where there is no room', async () => {
    const [one, two] = [
      await start({ kvBlockBytes: 512 * 1024 }, { handoffMemoryMib: 4 }),
      await start({ kvBlockBytes: 512 * 1024 }),
    ];
    const [kept, refused] = [await prefill(one), await prefill(one)];
    expect([kept.handoff.tokens, refused.handoff.tokens]).to.deep.equal([96, 0]);
    const rest = await decode(two, refused);
    expect(rest.tokens).to.have.length(19);
    expect(rest.last?.usage?.cachedTokens).to.equal(0);
    expect((await decode(two, kept)).tokens).to.deep.equal(rest.tokens);
    await until('it is freed', () => isIdle(one));
  });

  it('frees what it was writing when the prefill is cancelled', async () => {
    const one = await start({ kvBlockBytes: 1 << 20, contextLength: 8192 }, { handoffTtlSeconds: 3 });
    const long = Array.from({ length: 1600 }, (_, index) => 3 + (index % 250));
    const unused = 'stator_worker_handoffs_freed_total{model="synthetic",because="unused"}';
    // All may be written before this event loop has its next turn, and then waits for its time: until some were caught.
    for (let turn = 0; (await metric(one, unused)) < 3; turn++) {
      const cancel = new AbortController();
      const running = collect(
        one.client.generate(
          { tokenIds: [3 + (turn % 250), ...long], stop, prefillOnly: true },
          { signal: cancel.signal },
        ),
      ).catch(() => null);
      await until('it is being written', async () => (await metric(one, byModel('handoffs_staged'))) > 0);
      cancel.abort();
      await running;
      await until('it is freed', () => isIdle(one));
    }
    expect((await one.client.getLoad({})).load?.ranks[0]?.runningSequences).to.equal(0);
  });

  it('computes the prompt when the prefill worker dies, or stalls, after its handoff', async () => {
    const [one, two] = [await start({}, { handoffBackends: 'tcp' }), await start({}, { handoffBackends: 'tcp' })];
    const dead = await prefill(one);
    await one[Symbol.asyncDispose]();
    workers.splice(workers.indexOf(one), 1);
    const { tokens, last } = await decode(two, dead);
    expect(tokens).to.have.length(19);
    expect(last?.usage?.cachedTokens).to.equal(0);
    // A stranger takes the place of the agent and never answers.
    await using silent = await startTcpAgent({ name: 'silent' });
    const metadata = await silent.metadata();
    const offers = dead.handoff.offers.map((offer) => ({ ...offer, agentMetadata: metadata }));
    const soon = BigInt(Date.now() + 500);
    const stalled = await decode(two, { ...dead, handoff: { ...dead.handoff, deadlineUnixMs: soon, offers } });
    expect(stalled.tokens).to.deep.equal(tokens);
    await until('nothing is held', () => isIdle(two));
  });
});
