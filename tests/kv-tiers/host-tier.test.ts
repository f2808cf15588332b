import path from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { create } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { hashCount, unpackHashes } from '#core/tokens/packed-hashes.ts';
import { FinishReason } from '#gen/stator/engine/v1/generate_pb.ts';
import { Tier } from '#gen/stator/events/v1/events_pb.ts';
import { AdapterSchema } from '#gen/stator/model/v1/model_pb.ts';
import { TestKvbm } from '#services/kvbm/kvbm.test-support.ts';
import type { KvEventChange } from '#services/workers/common/engine.ts';
import type { KvTierConfig } from '#services/workers/common/kv-tiers/settings.ts';
import { MockerEngine } from '#services/workers/mocker/engine.ts';
import type { MockerOptions } from '#services/workers/mocker/options.ts';
import { until } from '#tests/support/until.ts';
import { spoilBlock } from './spoil.ts';
import { promptOf, TieredWorker } from './tiered-worker.ts';

const blockSize = 16;
const blockBytes = 20_000;

describe('KV tiers of a worker: host memory', function () {
  this.timeout(120_000);
  let kvbm: TestKvbm;
  const open: TieredWorker[] = [];

  async function worker(
    options: Partial<MockerOptions> = {},
    settings: Partial<KvTierConfig> = {},
  ): Promise<TieredWorker> {
    const engine = new MockerEngine({
      ...{ blockSize, kvBlockBytes: blockBytes, kvBlocks: 512, meanOutputTokens: 0 },
      ...options,
    });
    const started = await new TieredWorker(engine, kvbm.address, settings).start();
    open.push(started);
    await started.attached();
    return started;
  }

  beforeEach(async () => {
    kvbm = await new TestKvbm({ hostMib: 16, heartbeatMs: 5000 }).start();
  });

  afterEach(async () => {
    for (const one of open.splice(0)) await one[Symbol.asyncDispose]();
    await kvbm.close();
  });

  it('writes prompts and outputs back, and another worker onboards them and computes only the rest', async () => {
    const [a, b] = [await worker(), await worker()];
    const prompt = promptOf(1, 1, 200);
    const first = await a.run(prompt, { maxTokens: 60 });
    const written = Math.floor((200 + 60 - 1) / blockSize);
    await a.writtenBack(written);
    const second = await b.run(prompt, { maxTokens: 60 });
    expect(second.tokens).to.deep.equal(first.tokens);
    expect(second.usage.cachedTokens).to.equal(192);
    // What the first worker generated is part of the next prompt.
    const longer = [...prompt, ...first.tokens];
    const third = await b.run(longer, { maxTokens: 4 });
    expect(third.usage.cachedTokens).to.equal(256);
    expect(await b.metric('stator_worker_kv_onboarded_blocks_total', { tier: 'host' })).to.be.at.least(12);
    const [plain] = [await worker({}, { kvOnboard: 'off', kvOffload: 'off' })];
    expect((await plain.run(longer, { maxTokens: 4 })).tokens).to.deep.equal(third.tokens);
    expect(await plain.metric('stator_worker_kv_onboarded_blocks_total')).to.equal(0);
  });

  it('brings back what the engine evicted', async () => {
    const a = await worker({ kvBlocks: 24 });
    const prompts = Array.from({ length: 8 }, (_, i) => promptOf(i, i, 160));
    for (const [i, prompt] of prompts.entries()) {
      await a.run(prompt);
      await a.writtenBack(10 * (i + 1));
    }
    const again = [];
    for (const prompt of prompts) again.push((await a.run(prompt)).usage.cachedTokens);
    expect(again).to.deep.equal(new Array(8).fill(144));
  });

  it('keeps adapters and salts apart', async () => {
    const [a, b] = [await worker(), await worker()];
    const prompt = promptOf(2, 2, 100);
    await a.run(prompt, { cacheSalt: 'one' });
    await a.writtenBack(6);
    expect((await b.run(prompt, { cacheSalt: 'two' })).usage.cachedTokens).to.equal(0);
    expect((await b.run(prompt)).usage.cachedTokens).to.equal(0);
    expect((await b.run(prompt, { cacheSalt: 'one' })).usage.cachedTokens).to.equal(96);
  });

  it('shares blocks of adapters by their contents, not by their names', async () => {
    const prompt = promptOf(9, 9, 100);
    const withAdapter = async (content: number): Promise<TieredWorker> => {
      const one = await worker();
      await one.engine.loadAdapter?.(
        create(AdapterSchema, { name: 'tuned', sha256: new Uint8Array(32).fill(content) }),
      );
      return one;
    };
    const [a, other, same] = [await withAdapter(1), await withAdapter(2), await withAdapter(1)];
    await a.run(prompt, { adapter: 'tuned' });
    await a.writtenBack(6);
    expect((await other.run(prompt, { adapter: 'tuned' })).usage.cachedTokens).to.equal(0);
    expect((await same.run(prompt, { adapter: 'tuned' })).usage.cachedTokens).to.equal(96);
    // Another one under the same name, in the same process.
    await other.writtenBack(6);
    await same.engine.unloadAdapter?.('tuned');
    await same.engine.loadAdapter?.(create(AdapterSchema, { name: 'tuned', sha256: new Uint8Array(32).fill(3) }));
    await same.engine.clearCache();
    expect((await same.run(prompt, { adapter: 'tuned' })).usage.cachedTokens).to.equal(0);
  });

  it('does not write what a tier has already', async () => {
    const [a, b] = [await worker(), await worker()];
    const prompt = promptOf(3, 3, 100);
    await a.run(prompt);
    await a.writtenBack(6);
    await until('presence is told', () =>
      b.kvEvents.some(({ change }) => change.case === 'stored' && change.value.tier === Tier.HOST),
    );
    await b.run(prompt);
    await until('blocks are known to be there', async () => {
      return (await b.metric('stator_worker_kv_offload_dropped_blocks_total', { reason: 'present' })) === 6;
    });
    expect(await b.metric('stator_worker_kv_offloaded_blocks_total')).to.equal(0);
  });

  it('drops wrong bytes, says so, and computes', async () => {
    const [a, b] = [await worker(), await worker()];
    const prompt = promptOf(4, 4, 100);
    const first = await a.run(prompt, { maxTokens: 5 });
    await a.writtenBack(6);
    expect(spoilBlock(path.join(kvbm.folder, 'slabs'))).to.equal(true);
    const second = await b.run(prompt, { maxTokens: 5 });
    expect([second.reason, second.tokens]).to.deep.equal([FinishReason.LENGTH, first.tokens]);
    expect(second.usage.cachedTokens).to.be.below(96);
    expect(await b.metric('stator_worker_kv_onboard_dropped_blocks_total', { reason: 'wrong_bytes' })).to.be.above(0);
    // The block manager is told after the answer, looks at it again and drops it, so that it is written anew.
    await until('the block manager is told', async () => (await kvbm.counter('suspect_slots_total')) > 0);
    await until('the block is written anew', async () => {
      await b.run(prompt);
      return (await b.metric('stator_worker_kv_offloaded_blocks_total')) > 0;
    });
    const c = await worker();
    expect((await c.run(prompt, { maxTokens: 5 })).usage.cachedTokens).to.equal(96);
  });

  it('tells routers what is in the tiers, late ones too, and that it is gone with the block manager', async () => {
    const a = await worker();
    const prompt = promptOf(5, 5, 100);
    await a.run(prompt);
    await a.writtenBack(6);
    const hashes = [...a.prefix(prompt).sequenceHashes];
    await until('presence is told', () => presentIn(a.kvEvents, Tier.HOST).size === 6);
    expect([...presentIn(a.kvEvents, Tier.HOST)]).to.have.members(hashes);
    expect([...presentIn([...a.engine.kvSnapshot()], Tier.HOST)]).to.have.members(hashes);
    const late = await worker();
    await until('a late one is told', () => presentIn(late.kvEvents, Tier.HOST).size === 6);
    await kvbm.stop();
    await until('both notice', () => !a.tiers.isAttached && !late.tiers.isAttached);
    expect(presentIn(a.kvEvents, Tier.HOST).size).to.equal(0);
    expect(presentIn(late.kvEvents, Tier.HOST).size).to.equal(0);
    expect(presentIn(a.kvEvents, Tier.DEVICE).size).to.be.at.least(6);
    expect(a.states.at(-1)).to.be.a('string');
  });

  it('computes while the block manager is gone, and uses it again when it is back', async () => {
    const a = await worker({ kvBlocks: 24 });
    const prompt = promptOf(6, 6, 160);
    const first = await a.run(prompt, { maxTokens: 3 });
    await a.writtenBack(10);
    const address = kvbm.address;
    await kvbm.stop();
    await a.run(promptOf(7, 7, 300));
    expect((await a.run(prompt, { maxTokens: 3 })).tokens).to.deep.equal(first.tokens);
    await kvbm.start({ listen: address });
    await a.attached();
    expect(a.states.at(-1)).to.equal(null);
    await a.run(promptOf(8, 8, 300));
    const again = await a.run(prompt, { maxTokens: 3 });
    expect(again.tokens).to.deep.equal(first.tokens);
    expect(again.usage.cachedTokens).to.equal(144);
  });

  it('serves 64 sequences at once byte by byte under eviction pressure', async () => {
    const [a, b] = [await worker({ kvBlocks: 160 }), await worker({ kvBlocks: 160 })];
    const plain = await worker({ kvBlocks: 4096 }, { kvOnboard: 'off', kvOffload: 'off' });
    const cases = Array.from({ length: 192 }, (_, i) => promptOf(i % 12, i % 5, 80 + (i % 7) * 16));
    const expected = await Promise.all(cases.map((prompt) => plain.run(prompt, { maxTokens: 24 })));
    let next = 0;
    const lane = async (of: TieredWorker): Promise<void> => {
      for (let i = next++; i < cases.length; i = next++) {
        const answer = await of.run(cases[i] ?? [], { maxTokens: 24 });
        expect(answer.error?.message).to.equal(undefined);
        expect(answer.tokens).to.deep.equal(expected[i]?.tokens);
        await turn();
      }
    };
    for (const round of [0, 1]) {
      next = round;
      await Promise.all([...Array.from({ length: 32 }, () => lane(a)), ...Array.from({ length: 32 }, () => lane(b))]);
    }
    const onboarded = await Promise.all([a, b].map((one) => one.metric('stator_worker_kv_onboarded_blocks_total')));
    expect(onboarded.every((blocks) => blocks > 0)).to.equal(true);
    for (const one of [a, b]) {
      expect(await one.metric('stator_worker_kv_onboard_dropped_blocks_total', { reason: 'wrong_bytes' })).to.equal(0);
      expect(await one.metric('stator_worker_kv_holding')).to.equal(0);
      await until('nothing is held', () => one.engine.load()[0]?.activeKvBlocks === 0n);
    }
  });

  it('announces prompts that wait for their turn', async () => {
    const [a, b] = [await worker(), await worker({}, { kvOnboardSequences: 1 })];
    const prompts = Array.from({ length: 8 }, (_, i) => promptOf(40 + i, i, 160));
    for (const prompt of prompts) await a.run(prompt);
    await a.writtenBack(80);
    const answers = await Promise.all(prompts.map((prompt) => b.run(prompt)));
    expect(answers.map(({ usage }) => usage.cachedTokens)).to.deep.equal(new Array(8).fill(144));
    expect(await b.metric('stator_worker_kv_prefetch_hints_total')).to.equal(7);
  });

  it('writes back what waits when it stops', async () => {
    const a = await worker({}, { kvOffloadMibPerSecond: 4 });
    const prompts = Array.from({ length: 6 }, (_, i) => promptOf(20 + i, i, 160));
    for (const prompt of prompts) await a.run(prompt);
    await a.tiers.stop();
    expect(await a.metric('stator_worker_kv_offloaded_blocks_total')).to.equal(60);
  });
});

/** Sequence hashes that are in a tier after the events. */
function presentIn(events: readonly KvEventChange[], tier: Tier): Set<bigint> {
  const present = new Set<bigint>();
  for (const { change } of events) {
    if (change.case === 'stored' && change.value.tier === tier) {
      expect(hashCount(change.value.sequenceHashes)).to.be.above(0);
      for (const hash of unpackHashes(change.value.sequenceHashes)) present.add(hash);
    }
    if (change.case === 'removed' && change.value.tier === tier)
      for (const hash of unpackHashes(change.value.sequenceHashes)) present.delete(hash);
  }
  return present;
}
