import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { create } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { pino } from 'pino';
import { GenerateRequestSchema } from '#gen/stator/engine/v1/generate_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { skippedBecause, smolLm2 } from '#native/llamacpp/testing/model.ts';
import { hashBlocks } from '#native/tokens/index.ts';
import type { EngineKv, KvPrefix, KvSpan } from '../common/engine-kv.ts';
import { LlamacppEngine } from './engine.ts';
import { defaultOptions, type LlamacppOptions } from './options.ts';

const blockSize = 16;
const never = new AbortController().signal;
const tokenIds = Uint32Array.from({ length: 100 }, (_, index) => 1000 + ((index * 37) % 5000));

function prefixOf(tokens: Uint32Array, blocks: number, names: { adapter?: string; cacheSalt?: string } = {}): KvPrefix {
  const { adapter = '', cacheSalt = '' } = names;
  const own = tokens.slice(0, blocks * blockSize);
  return {
    tokenIds: own,
    sequenceHashes: hashBlocks(own, blockSize, { adapter, cacheSalt }).sequenceHashes,
    adapter,
    cacheSalt,
  };
}

function room(kv: EngineKv, blocks: number): KvSpan[] {
  const bytes = kv.format.blockBytes;
  const memory = Buffer.from(new SharedArrayBuffer(blocks * bytes));
  return Array.from({ length: blocks }, (_, index) => ({ memory, offset: index * bytes, bytes }));
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'none',
    (thrown: unknown) => (thrown instanceof StatorError ? thrown.code : String(thrown)),
  );
}

/** An engine that runs one greedy request at a time. */
class Running {
  readonly engine: LlamacppEngine;
  #next = 1;
  #done: ((tokens: number[]) => void) | undefined;

  constructor(options: LlamacppOptions) {
    this.engine = new LlamacppEngine(options, pino({ level: 'silent' }));
  }

  static async start(options: LlamacppOptions): Promise<Running> {
    const running = new Running(options);
    let tokens: number[] = [];
    await running.engine.start(
      {
        onStep: (step) => {
          tokens.push(...step.tokenIds);
          if (step.finished.length > 0) running.#done?.(tokens.splice(0));
        },
        onFatal: (error) => {
          tokens = [];
          throw error;
        },
      },
      { signal: never },
    );
    return running;
  }

  get kv(): EngineKv {
    return this.engine.kv ?? expect.fail('no kv');
  }

  generate(prompt: Uint32Array, o: { cacheSalt?: string; maxTokens?: number } = {}): Promise<number[]> {
    const { cacheSalt = '', maxTokens = 20 } = o;
    const done = new Promise<number[]>((resolve) => {
      this.#done = resolve;
    });
    const request = { tokenIds: [...prompt], cache: { cacheSalt }, sampling: { temperature: 0 } };
    this.engine.submit(
      this.#next++,
      create(GenerateRequestSchema, { ...request, stop: { maxTokens, ignoreEos: true } }),
    );
    return done;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.engine.stop();
  }
}

describe(`llama.cpp engine: KV blocks${skippedBecause}`, function () {
  this.timeout(120_000);
  const cacheDir = mkdtempSync(path.join(os.tmpdir(), 'stator-kv-'));
  let options: LlamacppOptions;

  before(function () {
    if (smolLm2 === undefined) return this.skip();
    options = {
      ...defaultOptions,
      modelPath: smolLm2,
      contextLength: 256,
      kvTokens: 512,
      batchTokens: blockSize,
      threads: 1,
      flashAttention: false,
      cacheDir,
    };
  });

  after(() => rmSync(cacheDir, { recursive: true }));

  it('keeps a prompt while others push out what nobody keeps', async () => {
    await using one = await Running.start({ ...options, contextLength: 64, kvTokens: 128 });
    const short = (seed: number): Uint32Array => tokenIds.subarray(0, 2 * blockSize + 1).map((token) => token + seed);
    const run = (seed: number): Promise<number[]> => one.generate(short(seed), { maxTokens: 1 });
    await run(0);
    await run(1);
    const [kept, lost] = [prefixOf(short(0), 2), prefixOf(short(1), 2)];
    const hold = await one.engine.kv?.hold(kept);
    expect([hold?.blocks, one.kv.cachedBlocks(lost)]).to.deep.equal([2, 2]);
    for (let seed = 2; seed < 9; seed++) await run(seed);
    expect([one.kv.cachedBlocks(kept), one.kv.cachedBlocks(lost)]).to.deep.equal([2, 0]);
    await one.engine.clearCache();
    expect(one.kv.cachedBlocks(kept)).to.equal(2);
    hold?.release();
    expect(await one.engine.clearCache()).to.equal(2);
    expect(one.kv.cachedBlocks(kept)).to.equal(0);
  });

  it('hands blocks from engine to engine through shared memory', async () => {
    await using one = await Running.start(options);
    await using two = await Running.start(options);
    const plain = await one.generate(tokenIds);
    const prefix = prefixOf(tokenIds, 6);
    expect(one.kv.cachedBlocks(prefix)).to.equal(6);
    expect(one.kv.format).to.deep.equal(two.kv.format);
    const spans = room(one.kv, 6);
    expect(await one.kv.exportBlocks(prefix, 0, spans, never)).to.deep.equal(
      new Array(6).fill(one.kv.format.blockBytes),
    );

    const first = await two.kv.importBlocks(prefix, 0, spans.slice(0, 2), never);
    expect(two.kv.cachedBlocks(prefix)).to.equal(0);
    const held = await first.accept(2);
    expect([held.blocks, two.kv.cachedBlocks(prefix)]).to.deep.equal([2, 2]);
    const rest = await two.kv.importBlocks(prefix, 2, spans.slice(2), never);
    const all = await rest.accept(3);
    expect([all.blocks, two.kv.cachedBlocks(prefix)]).to.deep.equal([5, 5]);
    expect(await two.engine.clearCache()).to.equal(0);
    expect(await two.generate(tokenIds)).to.deep.equal(plain);
    held.release();
    all.release();
    all.release();
    rest.discard();
    expect(await two.engine.clearCache()).to.equal(7);
    expect(two.engine.load()[0]).to.include({ activeKvBlocks: 0n, cachedKvBlocks: 0n });
  });

  it('says what is wrong', async () => {
    await using one = await Running.start(options);
    await one.generate(tokenIds);
    const prefix = prefixOf(tokenIds, 6);
    const spans = room(one.kv, 6);
    const aborted = AbortSignal.abort();
    const short = spans.map((span) => ({ ...span, bytes: span.bytes - 1 }));
    const behind = spans.map((span) => ({ ...span, offset: span.offset + 1 }));
    const device = { kind: 'cuda', device: 0, address: 4096n, bytes: 1e9 } as const;
    const onDevice = spans.map((span) => ({ ...span, memory: new Uint8Array(), device }));
    expect(await codeOf(one.kv.exportBlocks(prefix, 0, onDevice, never))).to.equal('unsupported');
    const loan = prefixOf(tokenIds, 6, { adapter: 'none' });
    expect(await codeOf(one.kv.exportBlocks(prefix, 0, spans, aborted))).to.equal('cancelled');
    expect(await codeOf(one.kv.exportBlocks(prefix, 0, short, never))).to.equal('invalid_argument');
    expect(await codeOf(one.kv.exportBlocks(prefix, 0, behind, never))).to.equal('invalid_argument');
    expect(await codeOf(one.kv.exportBlocks(prefix, 1, spans, never))).to.equal('invalid_argument');
    expect(await codeOf(one.kv.exportBlocks(loan, 0, spans, never))).to.equal('not_found');
    // What is cached already needs no bytes.
    (await one.kv.importBlocks(prefix, 0, spans, never)).discard();
    await one.engine.clearCache();
    expect(await codeOf(one.kv.importBlocks(prefix, 0, spans, never))).to.equal('invalid_argument');
    expect(await codeOf(one.kv.importBlocks(prefix, 1, spans.slice(1), never))).to.equal('conflict');
    expect(await one.kv.exportBlocks(prefix, 0, spans, never)).to.deep.equal([]);
  });

  it('refuses more copies at once than it may have, and ends them when it stops', async () => {
    const one = await Running.start({ ...options, maxKvTransfers: 3, kvSliceUs: 1 });
    await one.generate(tokenIds);
    const prefix = prefixOf(tokenIds, 6);
    const copy = () => codeOf(one.kv.exportBlocks(prefix, 0, room(one.kv, 6), never));
    const codes = await Promise.all([copy(), copy(), copy(), copy()]);
    expect(codes).to.deep.equal(['none', 'none', 'none', 'overloaded']);
    const spans = room(one.kv, 6);
    await one.kv.exportBlocks(prefix, 0, spans, never);
    const entered = await one.kv.importBlocks(prefix, 0, spans, never);
    const last = copy();
    await one.engine.stop();
    expect(['none', 'not_ready']).to.include(await last);
    expect(await codeOf(entered.accept(1))).to.equal('not_ready');
    entered.discard();
    expect(await copy()).to.equal('not_ready');
  });
});
