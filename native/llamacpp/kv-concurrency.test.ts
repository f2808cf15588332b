import { expect } from 'chai';
import {
  type EngineOptions,
  engineClearCache,
  engineKvAccept,
  engineKvCancel,
  engineKvCopy,
  engineKvRelease,
  engineStop,
  type ModelHandle,
  modelFree,
  modelLoad,
} from './index.ts';
import { TestEngine } from './testing/harness.ts';
import {
  accounts,
  beginExport,
  beginImport,
  bytesOf,
  codeOf,
  exportBlocks,
  farthest,
  importBlocks,
  numbersOf,
  promptOf,
  room,
  spanOf,
  type TestHold,
} from './testing/kv-blocks.ts';
import { withTinyModel } from './testing/model.ts';
import type { TinyModel } from './testing/tiny-model.ts';

const blockSize = 16;
const oneBlockSlices = { kvSliceUs: 1 };

async function storedOf(model: ModelHandle, prompt: Uint32Array): Promise<Buffer[]> {
  await using engine = await TestEngine.create(model, { contextLength: 2048 });
  await engine.generate(prompt, { maxTokens: 0 });
  return await exportBlocks(engine, prompt, 0, Math.floor(prompt.length / blockSize));
}

/** What a conversation has said so far, and its blocks as they were stored last. */
interface Conversation {
  tokens: Uint32Array;
  stored: Buffer[];
}

/** One turn: onboard, compute the rest under a hold, write back, and look whether the onboarded bytes are what they were. */
async function turn(engine: TestEngine, conversation: Conversation): Promise<{ kept: number; firstLogprob: number }> {
  const { tokens, stored } = conversation;
  const onboard = Math.min(stored.length, Math.floor((tokens.length - 1) / blockSize));
  const hold = await importBlocks(engine, tokens, 0, stored.slice(0, onboard));
  expect(hold.blocks).to.equal(onboard);
  const result = await engine.generate(tokens, { maxTokens: 5, ignoreEos: true, topLogprobs: 0 });
  expect(result.finished?.error).to.equal(null);
  const full = Math.floor(tokens.length / blockSize);
  const blocks = await exportBlocks(engine, tokens, 0, full);
  await hold.release();
  expect(blocks.length).to.be.at.least(onboard);
  for (let i = 0; i < onboard; i++)
    expect(blocks[i]?.equals(stored[i] ?? Buffer.alloc(0)), `block ${i}`).to.equal(true);
  conversation.stored = [...stored.slice(0, onboard), ...blocks.slice(onboard)];
  return { kept: onboard, firstLogprob: result.logprobs[0]?.chosen.logprob ?? Number.NaN };
}

/**
 * What a sequence said, and its first blocks: in the middle of the second one the lowest cells became free, and the next
 * tokens took them. The engine may be done before the event loop hears of its first token: until it was caught before.
 */
async function interrupted(
  model: ModelHandle,
  sizes: Partial<EngineOptions>,
): Promise<{ said: Uint32Array; scattered: Buffer[] }> {
  for (;;) {
    await using engine = await TestEngine.create(model, sizes);
    await engine.generate(promptOf(1, 64), { maxTokens: 0 });
    let cleared: Promise<number> | undefined;
    const running = engine.start(promptOf(2, 17), { maxTokens: 40, ignoreEos: true });
    engine.onStep = (step) => {
      if (step.handles.includes(running.handle)) cleared ??= engineClearCache(engine.handle);
    };
    const { tokens } = await running.result;
    if ((await cleared) !== 4) continue;
    const said = Uint32Array.from([...promptOf(2, 17), ...tokens]).subarray(0, 48);
    return { said, scattered: await exportBlocks(engine, said, 0, 3) };
  }
}

describe('llama.cpp addon: KV blocks among running sequences', function () {
  this.timeout(120_000);
  const kinds: readonly [string, TinyModel][] = [
    ['full attention', { architecture: 'llama', seed: 3 }],
    ['a sliding window', { architecture: 'gemma3', seed: 4, slidingWindow: 40 }],
  ];

  for (const [name, tiny] of kinds) {
    for (const together of [4, 8]) {
      it(`keeps every byte over ${together} conversations at once that evict each other, ${name}`, () =>
        withTinyModel(tiny, async (file) => {
          const model = await modelLoad(file);
          const sizes: Partial<EngineOptions> = { kvCells: 1024, contextLength: 256, ...oneBlockSlices };
          await using engine = await TestEngine.create(model, { ...sizes, maxSequences: together });
          await using alone = await TestEngine.create(model, { contextLength: 256, maxSequences: 1 });
          const conversations = Array.from({ length: 3 * together }, (_, index): Conversation => {
            return { tokens: promptOf(index + 1, 30 + ((index * 7) % 20)), stored: [] };
          });
          let onboarded = 0;
          let farthest = 0;
          for (let round = 0; round < 4; round++) {
            for (let first = 0; first < conversations.length; first += together) {
              const group = conversations.slice(first, first + together);
              const results = await Promise.all(group.map((conversation) => turn(engine, conversation)));
              for (const { kept } of results) onboarded += kept;
              // The numbers differ in the last bits with the shape of batches and the place of cells, not more.
              const [conversation] = group;
              const [result] = results;
              if (conversation === undefined || result === undefined) return expect.fail();
              const fresh = { maxTokens: 1, ignoreEos: true, topLogprobs: 0, bypassPrefixCache: true };
              const plain = await alone.generate(conversation.tokens, fresh);
              const difference = Math.abs((plain.logprobs[0]?.chosen.logprob ?? 0) - result.firstLogprob);
              farthest = Math.max(farthest, difference);
              for (const each of group) {
                const said = promptOf(each.tokens.length, 25);
                each.tokens = Uint32Array.from([...each.tokens, ...said]);
              }
            }
          }
          expect(onboarded).to.be.greaterThan(30);
          expect(farthest).to.be.lessThan(0.05);
          expect(
            engine.changes.some((change) => !change.stored),
            'blocks were evicted',
          ).to.equal(true);
          const { cached, active } = await accounts(engine);
          expect(active).to.equal(0);
          expect(await engineClearCache(engine.handle)).to.equal(cached);
          modelFree(model);
        }));
    }
  }

  it('writes blocks whose cells lie in another order as any others', () =>
    withTinyModel({ architecture: 'gemma3', seed: 4, slidingWindow: 40 }, async (file) => {
      const model = await modelLoad(file);
      for (const flashAttention of [true, false]) {
        const sizes: Partial<EngineOptions> = {
          flashAttention,
          keyType: 'f32',
          valueType: 'f32',
          batchTokens: blockSize,
        };
        const { said, scattered } = await interrupted(model, sizes);
        await using other = await TestEngine.create(model, sizes);
        await other.generate(said, { maxTokens: 0 });
        const reference = await exportBlocks(other, said, 0, 3);
        expect(scattered).to.have.length(3);
        const expected = reference.map(numbersOf);
        for (const [index, block] of scattered.entries()) {
          const numbers = numbersOf(block);
          // Steps of other sizes round otherwise; cells in the wrong order are as far away as another block's.
          expect(farthest(numbers, expected[index])).to.be.lessThan(0.05);
          expect(farthest(numbers, expected[(index + 1) % 3])).to.be.greaterThan(0.5);
        }
      }
      modelFree(model);
    }));

  describe('takes its turns', () => {
    let model: ModelHandle;
    const prompt = promptOf(2, 40 * blockSize);
    let stored: Buffer[];

    before(async () => {
      model = await withTinyModel({ architecture: 'llama', seed: 3 }, modelLoad);
      stored = await storedOf(model, prompt);
      expect(stored).to.have.length(40);
    });

    after(() => modelFree(model));

    it('one slice between two steps, however many copies wait', async () => {
      await using engine = await TestEngine.create(model, { kvCells: 4096, ...oneBlockSlices });
      await engine.generate(prompt, { maxTokens: 0 });
      let copies: Promise<Buffer[]>[] = [];
      let imports: ReturnType<typeof beginImport>[] = [];
      engine.onStep = () => {
        if (copies.length > 0) return;
        copies = [0, 1, 2].map(() => exportBlocks(engine, prompt, 0, 40));
        imports = [5, 6].map((salt) => beginImport(engine, prompt, 0, stored, { cacheSalt: `${salt}` }));
      };
      engine.steps.length = 0;
      // So long that they run whenever the event loop hears of their first step.
      const long = { maxTokens: 900, ignoreEos: true };
      const running = [3, 4].map((seed) => engine.generate(promptOf(seed, 20), long));
      for (const { tokens } of await Promise.all(running)) expect(tokens).to.have.length(900);
      for (const blocks of await Promise.all(copies)) expect(blocks).to.deep.equal(stored);
      expect(await Promise.all(imports.map(({ result }) => result))).to.deep.equal([40, 40]);
      // How many of them are ready before a step is the packer's matter; more than a slice is not copied.
      const copied = engine.steps.filter((step) => step.pass !== null).map((step) => step.copiedBlocks);
      expect(Math.max(...copied)).to.equal(1);
      expect(engine.steps.reduce((sum, step) => sum + step.copiedBlocks, 0)).to.equal(200);
      for (const { id } of imports) await engineKvRelease(engine.handle, id);
      expect((await accounts(engine)).active).to.equal(0);
    });

    it('many blocks between two looks when nothing computes', async () => {
      await using engine = await TestEngine.create(model, { kvCells: 1024, contextLength: 1024, kvSliceUs: 1_000_000 });
      const hold = await importBlocks(engine, prompt, 0, stored);
      expect(hold.blocks).to.equal(40);
      expect(Math.max(...engine.steps.map((step) => step.copiedBlocks))).to.equal(40);
    });

    it('and ends at a cancel, leaving nothing', async () => {
      await using engine = await TestEngine.create(model, oneBlockSlices);
      // The engine may be done before the event loop hears of its first block: until it was caught in between.
      for (let caught = false; !caught; ) {
        const { id, result } = beginImport(engine, prompt, 0, stored);
        let copied = 0;
        engine.onStep = (step) => {
          copied += step.copiedBlocks;
          engineKvCancel(engine.handle, id);
        };
        const code = await codeOf(result);
        expect(['none', 'cancelled']).to.include(code);
        caught = code === 'cancelled' && copied > 0;
        if (code === 'cancelled') expect(await codeOf(engineKvAccept(engine.handle, id, 3))).to.equal('not_found');
        await engineKvRelease(engine.handle, id);
        expect(await accounts(engine)).to.deep.equal({ cached: 0, active: 0 });
      }
      engine.onStep = undefined;
      await engine.generate(prompt, { maxTokens: 0 });
      const out = beginExport(engine, prompt, 0, 40);
      engineKvCancel(engine.handle, out.id);
      expect(['none', 'cancelled']).to.include(await codeOf(out.result));
      engineKvCancel(engine.handle, 424_242);
      expect(await accounts(engine)).to.deep.equal({ cached: 40, active: 0 });
    });

    it('and settles before the engine stops; the memory is left alone after', async () => {
      const engine = await TestEngine.create(model, oneBlockSlices);
      await engine.generate(prompt, { maxTokens: 0 });
      const spans = room(engine, 40);
      const request = { tokenIds: prompt, adapter: '', cacheSalt: '', from: 0 };
      const out = engineKvCopy(engine.handle, { id: 1e9, imports: false, spans, ...request });
      const salted = { ...request, cacheSalt: 'a' };
      const into = engineKvCopy(engine.handle, { id: 1e9 + 1, imports: true, spans: stored.map(spanOf), ...salted });
      const ends = Promise.all([codeOf(out), codeOf(into)]);
      await engineStop(engine.handle);
      for (const code of await ends) expect(['none', 'not_ready']).to.include(code);
      const at = spans.map(bytesOf);
      await new Promise((resolve) => setImmediate(resolve));
      expect(spans.map(bytesOf)).to.deep.equal(at);
      expect(await codeOf(exportBlocks(engine, prompt, 0, 0))).to.equal('not_ready');
    });
  });

  describe('holds', () => {
    let model: ModelHandle;
    const prompt = promptOf(2, 128);
    let stored: Buffer[];
    const sizes = { kvCells: 512, contextLength: 512 };

    before(async () => {
      model = await withTinyModel({ architecture: 'gemma3', seed: 3, slidingWindow: 64 }, modelLoad);
      stored = await storedOf(model, prompt);
    });

    after(() => modelFree(model));

    const cachedOf = async (engine: TestEngine): Promise<number> => (await exportBlocks(engine, prompt, 0, 8)).length;

    async function crowd(engine: TestEngine): Promise<void> {
      for (let seed = 10; seed < 16; seed++) {
        const { finished } = await engine.generate(promptOf(seed, 200), { maxTokens: 4, ignoreEos: true });
        expect(finished?.error).to.equal(null);
      }
    }

    it('keep blocks while others evict each other', async () => {
      await using engine = await TestEngine.create(model, sizes);
      const hold = await importBlocks(engine, prompt, 0, stored);
      await crowd(engine);
      expect(await engineClearCache(engine.handle)).to.be.greaterThan(0);
      expect(await cachedOf(engine)).to.equal(8);
      await hold.release();
      await hold.release();
      await crowd(engine);
      expect(await cachedOf(engine)).to.equal(0);
      expect((await accounts(engine)).active).to.equal(0);
    });

    it('give way to a sequence that needs every cell', async () => {
      await using engine = await TestEngine.create(model, { ...sizes, maxSequences: 1 });
      const hold = await importBlocks(engine, prompt, 0, stored.slice(0, 4));
      const more = beginImport(engine, prompt, 4, stored.slice(4));
      await more.result;
      const { finished } = await engine.generate(promptOf(9, 500), { maxTokens: 12, ignoreEos: true });
      expect(finished).to.include({ error: null, outputTokens: 12 });
      expect(await engineKvAccept(engine.handle, more.id, 4)).to.equal(0);
      expect(await cachedOf(engine)).to.equal(0);
      await hold.release();
      await engineKvRelease(engine.handle, more.id);
      expect((await accounts(engine)).active).to.equal(0);
    });

    it('are no reason to make their own sequence wait', async () => {
      await using engine = await TestEngine.create(model, { ...sizes, maxSequences: 2 });
      const whole = promptOf(2, 240);
      const hold = await importBlocks(engine, whole, 0, (await storedOf(model, whole)).slice(0, 14));
      let both = 0;
      engine.onStep = ({ load }) => {
        if (load.runningSequences === 2) both++;
      };
      const long = engine.generate(promptOf(9, 200), { maxTokens: 60, ignoreEos: true });
      const second = await engine.generate(whole, { maxTokens: 2, ignoreEos: true });
      expect(second.prefilled?.cachedTokens).to.equal(14 * blockSize);
      expect((await long).tokens).to.have.length(60);
      expect(both).to.be.greaterThan(0);
      await hold.release();
    });

    it('refuse imports that running sequences have no room for', async () => {
      await using engine = await TestEngine.create(model, sizes);
      const hold = await importBlocks(engine, prompt, 0, stored);
      const long = promptOf(4, 400);
      const blocks = await storedOf(model, long);
      expect(await codeOf(beginImport(engine, long, 0, blocks).result)).to.equal('overloaded');
      expect(await cachedOf(engine)).to.equal(8);
      await hold.release();
      const second = await importBlocks(engine, long, 0, blocks);
      expect(second.blocks).to.equal(25);
      await second.release();
      expect((await accounts(engine)).active).to.equal(0);
    });

    it('share what a sequence computed before the import was accepted', async () => {
      await using engine = await TestEngine.create(model, sizes);
      const { id, result } = beginImport(engine, prompt, 0, stored);
      await result;
      await engine.generate(prompt, { maxTokens: 0 });
      expect(await engineKvAccept(engine.handle, id, 6)).to.equal(6);
      expect(await engineClearCache(engine.handle)).to.equal(2);
      expect(await cachedOf(engine)).to.equal(6);
      await engineKvRelease(engine.handle, id);
      expect(await engineClearCache(engine.handle)).to.equal(6);
      expect(await accounts(engine)).to.deep.equal({ cached: 0, active: 0 });
    });

    it('leave an export what a sequence does not need', async () => {
      await using engine = await TestEngine.create(model, { ...sizes, batchTokens: blockSize, ...oneBlockSlices });
      const long = promptOf(4, 400);
      await engine.generate(long, { maxTokens: 0 });
      let exported: Promise<Buffer[]> | undefined;
      engine.onStep = (step) => {
        if (step.pass !== null) exported ??= exportBlocks(engine, long, 0, 25);
      };
      const { finished } = await engine.generate(promptOf(5, 400), { maxTokens: 1 });
      expect(finished?.error).to.equal(null);
      const blocks = (await exported) ?? [];
      expect(blocks.length).to.be.lessThan(25);
      expect(blocks).to.deep.equal((await storedOf(model, long)).slice(0, blocks.length));
    });

    it('does not grow over 500 cycles, which leave no cell behind', async () => {
      await using engine = await TestEngine.create(model, { ...sizes, ...oneBlockSlices });
      const damaged = stored.with(5, Buffer.from(stored[5] ?? []).fill(1, 300, 301));
      const cycle = async (): Promise<void> => {
        const holds: TestHold[] = [await importBlocks(engine, prompt, 0, stored.slice(0, 3))];
        holds.push(await importBlocks(engine, prompt, 3, stored.slice(3)));
        expect(await codeOf(beginImport(engine, prompt, 0, damaged, { cacheSalt: 'b' }).result)).to.equal(
          'invalid_argument',
        );
        const dropped = beginImport(engine, prompt, 0, stored, { cacheSalt: 'c' });
        engineKvCancel(engine.handle, dropped.id);
        await codeOf(dropped.result);
        await engineKvRelease(engine.handle, dropped.id);
        await exportBlocks(engine, prompt, 0, 8);
        for (const hold of holds) await hold.release();
        expect(await engineClearCache(engine.handle)).to.equal(8);
        engine.steps.length = 0;
        engine.changes.length = 0;
      };
      for (let i = 0; i < 100; i++) await cycle();
      global.gc?.();
      const before = process.memoryUsage.rss();
      for (let i = 0; i < 400; i++) await cycle();
      expect(await accounts(engine)).to.deep.equal({ cached: 0, active: 0 });
      const { finished } = await engine.generate(promptOf(7, 490), { maxTokens: 22, ignoreEos: true });
      expect(finished).to.include({ error: null, outputTokens: 22 });
      global.gc?.();
      // 400 cycles copy 60 MB of blocks: losing one in ten would show.
      expect(process.memoryUsage.rss() - before).to.be.lessThan(32 * 2 ** 20);
    });
  });
});
