import { expect } from 'chai';
import {
  engineClearCache,
  engineKvAccept,
  engineKvCopy,
  engineKvFormat,
  engineKvRelease,
  type ModelHandle,
  modelFree,
  modelLoad,
  type NativeKvSpan,
} from './index.ts';
import { chat, replay, TestEngine } from './testing/harness.ts';
import { skippedBecause, smolLm2 } from './testing/model.ts';

const blockSize = 16;
let nextId = 1;

function room(engine: TestEngine, blocks: number): NativeKvSpan[] {
  const bytes = engineKvFormat(engine.handle)?.blockBytes ?? 0;
  const memory = Buffer.alloc(blocks * bytes);
  return Array.from({ length: blocks }, (_, index) => ({ memory, offset: index * bytes, bytes }));
}

const bytesOf = ({ memory, offset, bytes }: NativeKvSpan) => Buffer.from(memory.subarray(offset, offset + bytes));

async function copyOut(
  engine: TestEngine,
  tokenIds: Uint32Array,
  from: number,
  blocks: number,
): Promise<NativeKvSpan[]> {
  const spans = room(engine, blocks);
  const request = { id: nextId++, imports: false, tokenIds, adapter: '', cacheSalt: '', from, spans };
  return spans.slice(0, await engineKvCopy(engine.handle, request));
}

async function copyIn(engine: TestEngine, tokenIds: Uint32Array, from: number, spans: readonly NativeKvSpan[]) {
  const id = nextId++;
  await engineKvCopy(engine.handle, { id, imports: true, tokenIds, adapter: '', cacheSalt: '', from, spans });
  return id;
}

describe(`llama.cpp addon: KV blocks leave and enter${skippedBecause}`, function () {
  this.timeout(120_000);
  let model: ModelHandle;
  let story: Uint32Array;
  let blocks = 0;

  before(async function () {
    if (smolLm2 === undefined) return this.skip();
    model = await modelLoad(smolLm2);
    story = await chat(
      model,
      `Tell me a long story. ${'A fox and a crow share one winter in an old mill. '.repeat(6)}`,
    );
    blocks = Math.floor((story.length - 1) / blockSize);
  });

  after(() => {
    if (model !== undefined) modelFree(model);
  });

  for (const flashAttention of [false, true]) {
    it(`continues as computed, ${flashAttention ? 'with' : 'without'} flash attention`, async () => {
      // Batches of one block: whatever is reused, the rest is computed in batches of the same shape.
      const options = { flashAttention, batchTokens: blockSize };
      await using source = await TestEngine.create(model, options);
      const plain = await source.generate(story, { maxTokens: 24 });
      const exported = await copyOut(source, story, 0, blocks);
      expect(exported).to.have.length(blocks).and.length.greaterThan(3);
      for (const parts of [blocks, 3, 1]) {
        await using target = await TestEngine.create(model, options);
        const id = await copyIn(target, story, 0, exported.slice(0, parts));
        expect(target.changes).to.deep.equal([]);
        expect(await engineKvAccept(target.handle, id, parts)).to.equal(parts);
        const { tokens, prefilled } = await target.generate(story, { maxTokens: 24 });
        expect(prefilled?.cachedTokens).to.equal(parts * blockSize);
        expect(tokens).to.deep.equal(plain.tokens);
        await engineKvRelease(target.handle, id);
        const again = await copyOut(target, story, 0, blocks);
        expect(again.slice(0, parts).map(bytesOf)).to.deep.equal(exported.slice(0, parts).map(bytesOf));
        expect(replay(target.changes).size).to.equal(await engineClearCache(target.handle));
        expect(target.steps.at(-1)?.load).to.include({ activeBlocks: 0, cachedBlocks: 0 });
      }
    });
  }
});
