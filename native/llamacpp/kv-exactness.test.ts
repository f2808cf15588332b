import { expect } from 'chai';
import { engineClearCache, engineKvFormat, type ModelHandle, modelFree, modelLoad, vocabTokenBytes } from './index.ts';
import { TestEngine } from './testing/harness.ts';
import { accounts, exportBlocks, importBlocks, promptOf } from './testing/kv-blocks.ts';
import { gemma3, gemmaSkippedBecause, skippedBecause, smolLm2, withTinyModel } from './testing/model.ts';

const blockSize = 16;
// Batches of one block: whatever is reused, the rest is computed in batches of the same shape. One thread, nothing else in
// the cache.
const exact = { batchTokens: blockSize, contextLength: 512, kvCells: 768 };
const sampling = { maxTokens: 20, ignoreEos: true, topLogprobs: 2 };

/** Where each run of blocks comes from: imported, or computed by the engine itself. */
type Mixture = readonly { readonly blocks: number; readonly imported: boolean }[];

function mixtures(blocks: number, count: number): Mixture[] {
  let state = 7;
  const random = (bound: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 8) % bound;
  };
  const fixed: Mixture[] = [
    [{ blocks, imported: true }],
    [{ blocks: 1, imported: true }],
    Array.from({ length: blocks }, (_, index) => ({ blocks: 1, imported: index % 2 === 1 })),
  ];
  const drawn = Array.from({ length: count }, () => {
    const parts: { blocks: number; imported: boolean }[] = [];
    for (let left = blocks; left > 0; ) {
      const next = 1 + random(Math.min(left, 5));
      parts.push({ blocks: next, imported: random(2) === 1 });
      left -= next;
    }
    return parts;
  });
  return [...fixed, ...drawn];
}

async function checkModel(
  model: ModelHandle,
  prompt: Uint32Array,
  o: { flashAttention: boolean; drawn: number },
): Promise<void> {
  const options = { ...exact, flashAttention: o.flashAttention };
  const blocks = Math.floor((prompt.length - 1) / blockSize);
  await using source = await TestEngine.create(model, options);
  const plain = await source.generate(prompt, sampling);
  const stored = await exportBlocks(source, prompt, 0, blocks);
  expect(stored).to.have.length(blocks);
  for (const mixture of mixtures(blocks, o.drawn)) {
    await using target = await TestEngine.create(model, options);
    let at = 0;
    for (const part of mixture) {
      const end = at + part.blocks;
      if (part.imported) {
        const hold = await importBlocks(target, prompt, at, stored.slice(at, end));
        expect(hold.blocks).to.equal(end);
        await hold.release();
      } else {
        // Without an output token nothing is computed beyond the blocks.
        await target.generate(prompt.slice(0, end * blockSize), { maxTokens: 0 });
      }
      at = end;
    }
    const label = JSON.stringify(mixture);
    const { tokens, logprobs, prefilled } = await target.generate(prompt, sampling);
    expect(prefilled?.cachedTokens, label).to.equal(at * blockSize);
    expect(tokens, label).to.deep.equal(plain.tokens);
    expect(logprobs, label).to.deep.equal(plain.logprobs);
    expect(await exportBlocks(target, prompt, 0, blocks), label).to.deep.equal(stored);
    expect(await accounts(target)).to.include({ active: 0 });
  }
}

describe('llama.cpp addon: KV blocks from elsewhere give the same text', function () {
  this.timeout(120_000);
  const tiny = [
    ['full attention', { architecture: 'llama', seed: 3 }],
    ['a sliding window', { architecture: 'gemma3', seed: 4, slidingWindow: 40 }],
    ['a window of one block', { architecture: 'gemma3', seed: 5, slidingWindow: blockSize }],
  ] as const;
  for (const [name, tinyModel] of tiny) {
    for (const flashAttention of [false, true]) {
      it(`${name}, flash attention ${flashAttention ? 'on' : 'off'}`, () =>
        withTinyModel(tinyModel, async (file) => {
          const model = await modelLoad(file);
          await checkModel(model, promptOf(9, 300), { flashAttention, drawn: 12 });
          modelFree(model);
        }));
    }
  }

  const real = [
    ['SmolLM2', smolLm2, skippedBecause],
    ['Gemma 3', gemma3, gemmaSkippedBecause],
  ] as const;
  for (const [name, file, reason] of real) {
    for (const flashAttention of [false, true]) {
      it(`${name}, flash attention ${flashAttention ? 'on' : 'off'}${reason}`, async function () {
        if (file === undefined) return this.skip();
        const model = await modelLoad(file);
        const prompt = promptOf(9, 60, Math.min(20_000, vocabTokenBytes(model).size));
        await checkModel(model, prompt, { flashAttention, drawn: 0 });
        modelFree(model);
      });
    }
  }

  it('computes something else from other bytes', () =>
    withTinyModel({ architecture: 'llama', seed: 3 }, async (file) => {
      // Otherwise equal text would prove nothing.
      const model = await modelLoad(file);
      await using one = await TestEngine.create(model, exact);
      await using other = await TestEngine.create(model, exact);
      const prompt = promptOf(9, 300);
      const plain = await one.generate(prompt, sampling);
      const changed = prompt.map((token, index) => (index === 3 ? token + 1 : token));
      const different = await other.generate(changed, sampling);
      expect(different.logprobs).not.to.deep.equal(plain.logprobs);
      expect((await exportBlocks(other, changed, 17, 1))[0]?.subarray(128)).not.to.deep.equal(
        (await exportBlocks(one, prompt, 17, 1))[0]?.subarray(128),
      );
      expect(await engineClearCache(one.handle)).to.equal(19);
      modelFree(model);
    }));

  it('neither cuts what is longer than a window nor the KV of an unknown model', () =>
    withTinyModel({ architecture: 'gemma3', seed: 4, slidingWindow: 8 }, async (file) => {
      const model = await modelLoad(file);
      await using long = await TestEngine.create(model, exact);
      expect(engineKvFormat(long.handle)).to.equal(null);
      await using nameless = await TestEngine.create(model, { ...exact, blockSize: 8, modelDigest: new Uint8Array() });
      expect(engineKvFormat(nameless.handle)).to.equal(null);
      await using fits = await TestEngine.create(model, { ...exact, blockSize: 8 });
      expect(engineKvFormat(fits.handle)?.blockBytes).to.be.greaterThan(128);
      modelFree(model);
    }));
});
