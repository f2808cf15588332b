import { mkdtempSync, rmSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { pino } from 'pino';
import { gemma3, gemmaSkippedBecause, skippedBecause, smolLm2 } from '#native/llamacpp/testing/model.ts';
import type { KvbmConfig } from '#services/kvbm/config.ts';
import { TestKvbm } from '#services/kvbm/kvbm.test-support.ts';
import type { KvTierConfig } from '#services/workers/common/kv-tiers/settings.ts';
import { LlamacppEngine } from '#services/workers/llamacpp/engine.ts';
import { defaultOptions, type LlamacppOptions } from '#services/workers/llamacpp/options.ts';
import { skip } from '#tests/support/skip.ts';
import { until } from '#tests/support/until.ts';
import { CheckedKv } from './checked-kv.ts';
import { type Answer, TieredWorker } from './tiered-worker.ts';

const blockSize = 16;

/** Most by which log-probabilities may differ from those of a sequence alone: llama.cpp's own results vary with the cells used. */
const tolerance = 1.5;

const models = [
  { name: 'SmolLM2', file: smolLm2, why: skippedBecause },
  { name: 'Gemma 3', file: gemma3, why: gemmaSkippedBecause },
];

for (const { name, file, why } of models)
  describe(`KV tiers of llama.cpp: ${name}`, function () {
    this.timeout(300_000);
    const cacheDir = mkdtempSync(path.join(tmpdir(), 'stator-kv-'));
    let kvbm: TestKvbm;
    const open: TieredWorker[] = [];

    async function worker(
      options: Partial<LlamacppOptions> = {},
      settings: Partial<KvTierConfig> = {},
      checks?: CheckedKv,
    ): Promise<TieredWorker> {
      const own = {
        modelPath: file ?? '',
        cacheDir,
        contextLength: 2048,
        threads: 1,
        flashAttention: false,
        blockSize,
      };
      const engine = new LlamacppEngine({ ...defaultOptions, ...own, ...options }, pino({ level: 'silent' }));
      const started = new TieredWorker(checks?.around(engine) ?? engine, kvbm.address, settings);
      await started.start();
      open.push(started);
      await started.attached();
      return started;
    }

    async function start(settings: Partial<KvbmConfig>): Promise<void> {
      kvbm = await new TestKvbm({ hostMib: 64, heartbeatMs: 5000, ...settings }).start();
    }

    before(function () {
      if (file === undefined) skip(this, why);
    });

    afterEach(async () => {
      for (const one of open.splice(0)) await one[Symbol.asyncDispose]();
      await kvbm?.close();
    });

    after(() => rmSync(cacheDir, { recursive: true }));

    it('gives greedy output as without reuse, from host memory, disk, object store and a mixture of them', async () => {
      await start({});
      const lower = {
        listen: kvbm.address,
        diskDir: path.join(kvbm.folder, 'disk'),
        diskMib: 256,
        objectStore: `file:${path.join(kvbm.folder, 'objects')}`,
      };
      const { objectStore, ...disk } = lower;
      const { listen } = lower;
      const restart = async (settings: Partial<KvbmConfig>): Promise<void> => {
        await kvbm.stop();
        await rm(path.join(kvbm.folder, 'slabs'), { recursive: true, force: true });
        await kvbm.start(settings);
      };
      await restart(lower);
      const one = await worker({ maxSequences: 1 });
      const prompt = Array.from({ length: 250 }, (_, i) => 1000 + ((i * 37) % 5000));
      const blocks = 15;
      /** From an empty cache: only the tiers have anything. */
      const fresh = async (): Promise<Answer> => {
        await one.engine.clearCache();
        expect(one.cached(prompt)).to.equal(0);
        await one.attached();
        return one.run(prompt, { maxTokens: 24 });
      };
      const expected = await fresh();
      expect(expected.usage.cachedTokens).to.equal(0);
      await one.writtenBack(blocks);
      await until('the blocks are on disk', async () => (await stored('disk')) >= blocks);
      await until('the blocks are in the object store', async () => (await stored('object')) >= blocks);
      const settingsOf = { host: undefined, disk, object: { listen, objectStore } };
      for (const tier of ['host', 'disk', 'object'] as const) {
        const settings = settingsOf[tier];
        if (settings !== undefined) await restart(settings);
        const answer = await fresh();
        expect(answer.usage.cachedTokens, tier).to.equal(blocks * blockSize);
        expect(await one.metric('stator_worker_kv_onboarded_blocks_total', { tier }), tier).to.equal(blocks);
        expect(answer.tokens, tier).to.deep.equal(expected.tokens);
      }
      // Half of the prompt is in host memory, and the rest comes from disk in the same onboarding.
      await restart(disk);
      await one.engine.clearCache();
      await one.attached();
      await one.run(prompt.slice(0, 130));
      const before = await one.metric('stator_worker_kv_onboarded_blocks_total', { tier: 'host' });
      expect((await fresh()).tokens).to.deep.equal(expected.tokens);
      expect(await one.metric('stator_worker_kv_onboarded_blocks_total', { tier: 'host' })).to.equal(before + 8);
    });

    for (const conversations of [4, 8])
      it(`keeps ${conversations} conversations right under eviction pressure`, async () => {
        await start({ hostMib: 48 });
        const checks = new CheckedKv();
        const busy = await worker({ maxSequences: conversations, kvTokens: 480, contextLength: 256 }, {}, checks);
        const asked: { readonly prompt: readonly number[]; readonly answer: Answer }[] = [];
        const talk = async (conversation: number): Promise<void> => {
          let prompt = Array.from({ length: 40 }, (_, i) => 1000 + ((i * 41 + conversation * 977) % 5000));
          for (let turn = 0; turn < 2; turn++) {
            const answer = await busy.run(prompt, { maxTokens: 8, topLogprobs: 5 });
            expect(answer.error?.message).to.equal(undefined);
            asked.push({ prompt, answer });
            prompt = [...prompt, ...answer.tokens, ...prompt.slice(turn, turn + 30)];
          }
        };
        const all = (): Promise<unknown> => Promise.all(Array.from({ length: conversations }, (_, i) => talk(i)));
        await all();
        // And once more from the start: by now much of it is only in the tiers.
        await busy.engine.clearCache();
        await all();
        expect(checks.differing).to.equal(0);
        expect(checks.compared).to.be.above(0);
        expect(await busy.metric('stator_worker_kv_onboard_dropped_blocks_total', { reason: 'wrong_bytes' })).to.equal(
          0,
        );
        await kvbm.stop();
        for (const { prompt, answer } of asked.slice(-4)) {
          await busy.engine.clearCache();
          const alone = await busy.run(prompt, { topLogprobs: 5 });
          expect(alone.usage.cachedTokens).to.equal(0);
          const top = new Map(alone.logprobs[0]?.top.map(({ tokenId, logprob }) => [tokenId, logprob]));
          for (const { tokenId, logprob } of answer.logprobs[0]?.top ?? [])
            if (top.has(tokenId)) expect(Math.abs(logprob - (top.get(tokenId) ?? 0))).to.be.below(tolerance);
        }
      });

    async function stored(tier: 'disk' | 'object'): Promise<number> {
      const lines = (await kvbm.metrics()).split('\n');
      const wanted = `stator_kvbm_offload_blocks_total{tier="${tier}",outcome="stored"}`;
      return Number(
        lines
          .find((line) => line.startsWith(wanted))
          ?.split(' ')
          .at(-1) ?? 0,
      );
    }
  });
