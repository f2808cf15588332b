import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { xxh3 } from '#core/tokens/xxh3.ts';
import {
  type EngineOptions,
  engineClearCache,
  engineKvAccept,
  engineKvCopy,
  engineKvFormat,
  engineKvRelease,
  engineLoadAdapter,
  engineUnloadAdapter,
  type ModelHandle,
  modelFree,
  modelLoad,
} from './index.ts';
import { writeAdapter } from './testing/adapter.ts';
import { TestEngine } from './testing/harness.ts';
import { accounts, beginImport, codeOf, exportBlocks, importBlocks, promptOf } from './testing/kv-blocks.ts';
import { withTinyModel } from './testing/model.ts';

const blockSize = 16;
const headerBytes = 128;
const blocks = 4;
const prompt = promptOf(3, blocks * blockSize);
const small = { contextLength: 256, kvCells: 256, batchTokens: blockSize };

/** The block with a checksum that fits whatever is in it. */
function sealed(block: Buffer): Buffer {
  block.writeBigUInt64LE(0n, 8);
  const seed = xxh3(block.subarray(0, headerBytes));
  block.writeBigUInt64LE(xxh3(block.subarray(headerBytes), seed), 8);
  return block;
}

async function refused(engine: TestEngine, from: number, bytes: readonly Uint8Array[]): Promise<string> {
  const { result } = beginImport(engine, prompt, from, bytes);
  return result.then(
    () => 'taken',
    (error: unknown) => (error instanceof Error ? `${Reflect.get(error, 'field')}: ${error.message}` : String(error)),
  );
}

describe('llama.cpp addon: KV blocks that are none', function () {
  this.timeout(120_000);
  let model: ModelHandle;
  let stored: Buffer[];

  before(async () => {
    model = await withTinyModel({ architecture: 'llama', seed: 3 }, modelLoad);
    stored = await exportedBy({});
  });

  after(() => modelFree(model));

  async function exportedBy(options: Partial<EngineOptions>): Promise<Buffer[]> {
    await using engine = await TestEngine.create(model, { ...small, ...options });
    await engine.generate(prompt, { maxTokens: 0 });
    const size = options.blockSize ?? blockSize;
    return await exportBlocks(engine, prompt, 0, prompt.length / size);
  }

  /** The block before it is cached; nothing of the import may stay. */
  async function check(damaged: Buffer, expected: RegExp): Promise<void> {
    await using engine = await TestEngine.create(model, small);
    const answer = await refused(engine, 0, [stored[0] ?? damaged, stored[1] ?? damaged, damaged]);
    expect(answer)
      .to.match(/^spans\[2\]: /)
      .and.match(expected);
    expect(await exportBlocks(engine, prompt, 0, blocks)).to.deep.equal([]);
    expect(await accounts(engine)).to.deep.equal({ cached: 0, active: 0 });
    // All cells are free: a sequence that needs every one of them runs.
    const { finished } = await engine.generate(promptOf(8, 250), { maxTokens: 6, ignoreEos: true });
    expect(finished?.error).to.equal(null);
    expect(finished?.outputTokens).to.equal(6);
  }

  const third = (): Buffer => Buffer.from(stored[2] ?? Buffer.alloc(0));

  it('are refused when their length is wrong', async () => {
    await check(third().subarray(0, -1), /a block has/);
    await check(Buffer.concat([third(), Buffer.alloc(1)]), /a block has/);
    await check(Buffer.alloc(0), /it has 0 bytes/);
    await check(third().subarray(0, 100), /it has 100 bytes/);
  });

  it('are refused when one bit is wrong, wherever it is', async () => {
    await using engine = await TestEngine.create(model, small);
    const block = third();
    const offsets = Array.from({ length: headerBytes }, (_, index) => index);
    for (let at = headerBytes; at < block.length; at += 97) offsets.push(at);
    offsets.push(block.length - 1);
    for (const offset of offsets) {
      const damaged = Buffer.from(block);
      damaged.writeUInt8(damaged.readUInt8(offset) ^ (1 << (offset % 8)), offset);
      const answer = await refused(engine, 0, [stored[0] ?? block, stored[1] ?? block, damaged]);
      expect(answer, `byte ${offset}`).to.match(/^spans\[2\]: This is not block 2 of the prompt: /);
    }
    expect(await engineClearCache(engine.handle)).to.equal(0);
    expect(await accounts(engine)).to.deep.equal({ cached: 0, active: 0 });
    await check(Buffer.from(block.fill(0xff, 500, 501)), /checksum/);
  });

  it('are refused when they belong elsewhere', async () => {
    await check(stored[1] ?? expect.fail(), /it begins at token 16, not 32/);
    await using engine = await TestEngine.create(model, small);
    const changed = prompt.map((token, index) => (index === 0 ? token + 1 : token));
    await engine.generate(changed, { maxTokens: 0 });
    await check((await exportBlocks(engine, changed, 2, 1))[0] ?? expect.fail(), /other tokens/);
  });

  it('are refused when another engine made them', async () => {
    const [, , foreign] = await exportedBy({ modelDigest: new Uint8Array(32).fill(8) });
    await check(foreign ?? expect.fail(), /another model/);
    const [, , flash] = await exportedBy({ flashAttention: true });
    await check(flash ?? expect.fail(), /computed with flash attention/);
    const [, , wide] = await exportedBy({ keyType: 'f32' });
    await check(wide ?? expect.fail(), /a block has/);
    const [, , brain] = await exportedBy({ keyType: 'bf16', valueType: 'bf16' });
    await check(brain ?? expect.fail(), /another type/);
    const [halves] = await exportedBy({ blockSize: 8 });
    await check(halves ?? expect.fail(), /a block has/);
    const other = await withTinyModel({ architecture: 'gemma3', slidingWindow: 64, seed: 1 }, modelLoad);
    await using engine = await TestEngine.create(other, small);
    await engine.generate(prompt, { maxTokens: 0 });
    await check((await exportBlocks(engine, prompt, 2, 1))[0] ?? expect.fail(), /a block has/);
    modelFree(other);
  });

  it('are refused when their checksum fits but llama.cpp would read other numbers', async () => {
    // magic, sequence, streams, cells, 16 × (position, sequences, sequence), transposed, layers, type, row bytes.
    const cells = headerBytes + 16;
    const layers = cells + blockSize * 12;
    const words: readonly [string, number, number][] = [
      ['magic', headerBytes, 1],
      ['sequence', headerBytes + 4, 3],
      ['streams', headerBytes + 8, 2],
      ['cells', headerBytes + 12, 15],
      ['cells', headerBytes + 12, 0xffff_ffff],
      ['position', cells, 33],
      ['last position', cells + 15 * 12, 0x7fff_ffff],
      ['sequences', cells + 4, 2],
      ['sequence of a cell', cells + 8, 255],
      ['transposed', layers, 0],
      ['layers', layers + 4, 6],
      ['type', layers + 8, 0],
      ['type', layers + 8, 0xffff_ffff],
      ['row bytes', layers + 12, 32],
      ['row bytes', layers + 16, 1],
    ];
    expect(sealed(third()), 'the checksum is understood').to.deep.equal(third());
    for (const [what, offset, value] of words) {
      const forged = third();
      expect(forged.readUInt32LE(offset), what).not.to.equal(value);
      forged.writeUInt32LE(value, offset);
      await check(sealed(forged), /structure|cells are not in order/);
    }
    const header: readonly [number, RegExp][] = [
      [0, /no block header/],
      [4, /version/],
      [6, /version/],
      [16, /another model/],
      [32, /another release/],
      [64, /another type/],
      [68, /another type/],
      [72, /computed/],
      [76, /tokens, not 16/],
      [80, /begins at/],
      [88, /other tokens/],
      [96, /structure/],
      [104, /structure/],
    ];
    for (const [offset, reason] of header) {
      const forged = third();
      forged.writeUInt8(forged.readUInt8(offset) ^ 1, offset);
      await check(sealed(forged), reason);
    }
  });

  it('are refused as values of the wrong type or outside their memory', async () => {
    await using engine = await TestEngine.create(model, small);
    const memory = Buffer.alloc(100_000);
    const bytes = engineKvFormat(engine.handle)?.blockBytes ?? 0;
    const good = { memory, offset: 0, bytes };
    const request = { id: 1e6, imports: false, tokenIds: prompt, adapter: '', cacheSalt: '', from: 0, spans: [good] };
    const wrong: readonly [object, string][] = [
      [{ spans: [{ ...good, offset: memory.length }] }, 'invalid_argument'],
      [{ spans: [{ ...good, offset: 2 ** 53 }] }, 'invalid_argument'],
      [{ spans: [{ ...good, bytes: memory.length + 1 }] }, 'invalid_argument'],
      [{ spans: [{ ...good, bytes: bytes - 1 }] }, 'invalid_argument'],
      [{ spans: [{ ...good, offset: -1 }] }, 'TypeError'],
      [{ spans: [{ ...good, offset: 0.5 }] }, 'TypeError'],
      [{ spans: [{ ...good, bytes: Number.NaN }] }, 'TypeError'],
      [{ spans: [{ ...good, memory: [1] }] }, 'TypeError'],
      [{ spans: [{ ...good, memory: new Uint32Array(bytes) }] }, 'TypeError'],
      [{ spans: [null] }, 'TypeError'],
      [{ spans: 7 }, 'TypeError'],
      [{ tokenIds: [1] }, 'TypeError'],
      [{ from: -1 }, 'TypeError'],
      [{ from: 4 }, 'invalid_argument'],
      [{ from: 2 ** 31 }, 'invalid_argument'],
      [{ tokenIds: prompt.slice(0, 15) }, 'invalid_argument'],
      [{ adapter: 'none' }, 'not_found'],
    ];
    for (const [change, code] of wrong) {
      const call = codeOf(Reflect.apply(engineKvCopy, undefined, [engine.handle, { ...request, ...change }]));
      expect(await call, JSON.stringify(change)).to.match(new RegExp(`^${code}`));
    }
    expect(await codeOf(engineKvAccept(engine.handle, 77_777, 1))).to.equal('not_found');
    await engineKvRelease(engine.handle, 77_777);
    expect(await codeOf(beginImport(engine, prompt, 1, stored.slice(1)).result)).to.equal('conflict');
    expect(await accounts(engine)).to.deep.equal({ cached: 0, active: 0 });
  });

  it('and go with their adapter', async () => {
    await using engine = await TestEngine.create(model, small);
    const directory = mkdtempSync(path.join(os.tmpdir(), 'stator-lora-'));
    const file = path.join(directory, 'lora.gguf');
    writeAdapter(file, { embedding: 64, layers: 7, strength: 1 });
    const names = { adapter: 'a' };
    await engineLoadAdapter(engine.handle, 'a', file);
    const longer = Uint32Array.from([...prompt, 5]);
    const plain = await engine.generate(longer, { maxTokens: 8, ...names });
    const adapted = await exportBlocks(engine, prompt, 0, blocks, names);
    expect(adapted).to.have.length(blocks).and.not.deep.equal(stored);
    await engineClearCache(engine.handle);
    const hold = await importBlocks(engine, prompt, 0, adapted, names);
    const again = await engine.generate(longer, { maxTokens: 8, ...names });
    expect(again.prefilled?.cachedTokens).to.equal(blocks * blockSize);
    expect(again.tokens).to.deep.equal(plain.tokens);
    const waiting = beginImport(engine, prompt, 0, adapted, { ...names, cacheSalt: 'b' });
    await waiting.result;
    await engineUnloadAdapter(engine.handle, 'a');
    await engineLoadAdapter(engine.handle, 'a', file);
    expect(await engineKvAccept(engine.handle, waiting.id, blocks)).to.equal(0);
    expect(await exportBlocks(engine, prompt, 0, blocks, names)).to.deep.equal([]);
    await hold.release();
    expect(await accounts(engine)).to.deep.equal({ cached: 0, active: 0 });
    rmSync(directory, { recursive: true });
  });

  it('but the same tokens of another salt are the same bytes', async () => {
    await using engine = await TestEngine.create(model, small);
    const hold = await importBlocks(engine, prompt, 0, stored, { cacheSalt: 'tenant' });
    expect(hold.blocks).to.equal(blocks);
    expect(await exportBlocks(engine, prompt, 0, blocks)).to.deep.equal([]);
    expect(await exportBlocks(engine, prompt, 0, blocks, { cacheSalt: 'tenant' })).to.deep.equal(stored);
    const longer = Uint32Array.from([...prompt, 5]);
    expect((await engine.generate(longer, { maxTokens: 1 })).prefilled?.cachedTokens).to.equal(0);
    const salted = await engine.generate(longer, { maxTokens: 1, cacheSalt: 'tenant' });
    expect(salted.prefilled?.cachedTokens).to.equal(blocks * blockSize);
  });
});
