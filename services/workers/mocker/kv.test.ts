import { create } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { unpackHashes } from '#core/tokens/packed-hashes.ts';
import { FinishReason, GenerateRequestSchema } from '#gen/stator/engine/v1/generate_pb.ts';
import type { StepBatch } from '../common/engine.ts';
import type { KvHold, KvPrefix, KvSpan } from '../common/engine-kv.ts';
import { prefixOf } from '../common/kv-prefix.ts';
import { MockerEngine } from './engine.ts';
import type { MockerKv } from './kv.ts';
import type { MockerOptions } from './options.ts';

const blockSize = 4;
const blockBytes = 1001;

/** An engine with what it reported. */
class Bench {
  readonly engine: MockerEngine;
  readonly steps: StepBatch[] = [];
  #next = 1;

  constructor(options: Partial<MockerOptions> = {}) {
    const defaults = { blockSize, kvBlocks: 64, kvBlockBytes: blockBytes, meanOutputTokens: 0 };
    this.engine = new MockerEngine({ ...defaults, ...options });
  }

  async start(): Promise<this> {
    const listener = { onStep: (step: StepBatch) => void this.steps.push(step), onFatal: () => {} };
    await this.engine.start(listener, { signal: AbortSignal.timeout(60_000) });
    return this;
  }

  get kv(): MockerKv {
    if (this.engine.kv === undefined) throw new Error('the engine has no KV');
    return this.engine.kv;
  }

  /** Runs a prompt to its end. */
  async run(tokenIds: readonly number[], o: { maxTokens?: number; adapter?: string; cacheSalt?: string } = {}) {
    const handle = this.#next++;
    const { maxTokens = 1, adapter = '', cacheSalt = '' } = o;
    const request = { tokenIds: [...tokenIds], stop: { maxTokens }, adapter, cache: { cacheSalt } };
    this.engine.submit(handle, create(GenerateRequestSchema, request));
    for (;;) {
      const finished = this.steps.flatMap((step) => step.finished).find((one) => one.handle === handle);
      if (finished !== undefined) return { ...finished, tokens: this.tokensOf(handle) };
      await turn();
    }
  }

  tokensOf(handle: number): number[] {
    return this.steps.flatMap(({ handles, tokenIds }) => [...tokenIds].filter((_, i) => handles[i] === handle));
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
// Never aborted: mocha's own limit ends what hangs.
const { signal } = new AbortController();
const tokensOf = (count: number, seed = 3): number[] => Array.from({ length: count }, (_, i) => 3 + ((i * seed) % 250));

function prefix(tokens: readonly number[], o = { adapter: '', cacheSalt: '' }): KvPrefix {
  const found = prefixOf(Uint32Array.from(tokens), blockSize, o);
  if (found === null) throw new Error('the tokens fill no block');
  return found;
}

function spans(count: number): KvSpan[] {
  const memory = new Uint8Array(count * (blockBytes + 3));
  return Array.from({ length: count }, (_, i) => ({ memory, offset: i * (blockBytes + 3), bytes: blockBytes }));
}

async function transfer(from: Bench, to: Bench, what: KvPrefix, blocks: number): Promise<KvHold> {
  const into = spans(blocks);
  expect(await from.kv.exportBlocks(what, 0, into, signal)).to.deep.equal(new Array(blocks).fill(blockBytes));
  const entered = await to.kv.importBlocks(what, 0, into, signal);
  return entered.accept(blocks);
}

describe('KV of the synthetic engine', () => {
  it('leaves one engine and enters another, which computes the rest', async () => {
    const [a, b] = [await new Bench().start(), await new Bench().start()];
    const tokens = tokensOf(42);
    const what = prefix(tokens);
    const first = await a.run(tokens, { maxTokens: 8 });
    expect(a.kv.cachedBlocks(what)).to.equal(10);
    const hold = await transfer(a, b, what, 10);
    expect([hold.blocks, b.kv.cachedBlocks(what)]).to.deep.equal([10, 10]);
    const stored = b.steps
      .flatMap((step) => step.kvEvents)
      .flatMap(({ change }) => (change.case === 'stored' ? [change.value] : []));
    expect(stored.flatMap(({ sequenceHashes }) => [...unpackHashes(sequenceHashes)])).to.deep.equal([
      ...what.sequenceHashes,
    ]);
    const second = await b.run(tokens, { maxTokens: 8 });
    hold.release();
    expect(second.tokens).to.deep.equal(first.tokens);
    expect(second.usage.cachedTokens).to.equal(40);
    await Promise.all([a.engine.stop(), b.engine.stop()]);
  });

  it('fails sequences that share a block whose bytes were wrong, and no others', async () => {
    const bench = await new Bench().start();
    const [source, tokens] = [await new Bench().start(), tokensOf(21)];
    await source.run(tokens);
    const into = spans(5);
    await source.kv.exportBlocks(prefix(tokens), 0, into, signal);
    const [, second] = into;
    if (second !== undefined) second.memory[second.offset + 7] = 1 + (second.memory[second.offset + 7] ?? 0);
    const entered = await bench.kv.importBlocks(prefix(tokens), 0, into, signal);
    (await entered.accept(5)).release();
    const failed = await bench.run(tokens);
    expect([failed.reason, failed.error?.code]).to.deep.equal([FinishReason.ERROR, 'internal']);
    expect(failed.error?.message).to.match(/block 1 .* wrong bytes/);
    const sharesNothingWrong = await bench.run(tokens.slice(0, 6));
    expect(sharesNothingWrong.reason).to.equal(FinishReason.LENGTH);
    await Promise.all([bench.engine.stop(), source.engine.stop()]);
  });

  it('forgets what was not accepted, and ends an import once', async () => {
    const [a, b] = [await new Bench().start(), await new Bench().start()];
    const tokens = tokensOf(21);
    const what = prefix(tokens);
    await a.run(tokens);
    const into = spans(5);
    await a.kv.exportBlocks(what, 0, into, signal);
    const entered = await b.kv.importBlocks(what, 0, into, signal);
    const hold = await entered.accept(2);
    expect([hold.blocks, b.kv.cachedBlocks(what)]).to.deep.equal([2, 2]);
    entered.discard();
    expect(await entered.accept(1).catch((thrown: unknown) => thrown)).to.include({ code: 'conflict' });
    const rest = await b.kv.importBlocks(what, 2, into.slice(2), signal);
    rest.discard();
    rest.discard();
    hold.release();
    hold.release();
    const load = b.engine.load()[0];
    expect([load?.activeKvBlocks, load?.cachedKvBlocks]).to.deep.equal([0n, 2n]);
    expect(await b.kv.importBlocks(what, 3, into.slice(3), signal).catch((thrown: unknown) => thrown)).to.include({
      code: 'conflict',
    });
    await Promise.all([a.engine.stop(), b.engine.stop()]);
  });

  it('keeps adapters and salts apart', async () => {
    const [a, b] = [await new Bench().start(), await new Bench().start()];
    const tokens = tokensOf(9);
    const into = spans(2);
    await a.run(tokens, { cacheSalt: 'one' });
    await a.kv.exportBlocks(prefix(tokens, { adapter: '', cacheSalt: 'one' }), 0, into, signal);
    const other = prefix(tokens, { adapter: '', cacheSalt: 'two' });
    (await (await b.kv.importBlocks(other, 0, into, signal)).accept(2)).release();
    expect((await b.run(tokens, { cacheSalt: 'two' })).reason).to.equal(FinishReason.ERROR);
    await Promise.all([a.engine.stop(), b.engine.stop()]);
  });

  it('keeps held blocks under eviction pressure, and lets go where nothing could run beside them', async () => {
    const [a, b] = [await new Bench().start(), await new Bench({ kvBlocks: 12 }).start()];
    const tokens = tokensOf(25);
    const what = prefix(tokens);
    await a.run(tokens);
    const hold = await transfer(a, b, what, 6);
    await b.run(tokensOf(20, 7));
    await b.run(tokensOf(20, 11));
    expect(b.kv.cachedBlocks(what)).to.equal(6);
    expect((await b.run(tokensOf(40, 13))).reason).to.equal(FinishReason.LENGTH);
    expect(b.kv.cachedBlocks(what)).to.be.below(6);
    hold.release();
    expect(b.engine.load()[0]?.activeKvBlocks).to.equal(0n);
    await Promise.all([a.engine.stop(), b.engine.stop()]);
  });

  it('refuses what running sequences have no room for, and bytes of another size', async () => {
    const [a, b] = [await new Bench().start(), await new Bench({ kvBlocks: 5 }).start()];
    const tokens = tokensOf(41);
    await a.run(tokens);
    const into = spans(10);
    await a.kv.exportBlocks(prefix(tokens), 0, into, signal);
    const entering = b.kv.importBlocks(prefix(tokens), 0, into, signal);
    expect(await entering.catch((thrown: unknown) => thrown)).to.include({ code: 'overloaded' });
    const short = into.map((span) => ({ ...span, bytes: 1000 }));
    const wrong = b.kv.importBlocks(prefix(tokens), 0, short, signal);
    expect(await wrong.catch((thrown: unknown) => thrown)).to.include({ code: 'invalid_argument' });
    expect(await a.kv.exportBlocks(prefix(tokensOf(41, 17)), 0, into, signal)).to.deep.equal([]);
    expect(b.engine.load()[0]?.activeKvBlocks).to.equal(0n);
    await Promise.all([a.engine.stop(), b.engine.stop()]);
  });

  it('gives room and blocks back when an import is cancelled', async () => {
    const [a, b] = [await new Bench().start(), await new Bench().start()];
    const tokens = tokensOf(21);
    await a.run(tokens);
    const into = spans(5);
    await a.kv.exportBlocks(prefix(tokens), 0, into, signal);
    const ending = AbortSignal.abort(new Error('over'));
    expect(await b.kv.importBlocks(prefix(tokens), 0, into, ending).catch((e: Error) => e.message)).to.equal('over');
    const load = b.engine.load()[0];
    expect([load?.activeKvBlocks, load?.cachedKvBlocks]).to.deep.equal([0n, 0n]);
    await Promise.all([a.engine.stop(), b.engine.stop()]);
  });
});
