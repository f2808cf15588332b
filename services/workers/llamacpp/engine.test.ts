import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { pino } from 'pino';
import { unpackHashes } from '#core/tokens/packed-hashes.ts';
import { FinishReason, GenerateRequestSchema } from '#gen/stator/engine/v1/generate_pb.ts';
import { GuidedMode, Pooling, Task } from '#gen/stator/model/v1/model_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { skippedBecause, smolLm2 } from '#native/llamacpp/testing/model.ts';
import type { Engine, Finished, StepBatch } from '../common/engine.ts';
import { createEngine } from './create-engine.ts';
import { LlamacppEngine } from './engine.ts';
import { defaultOptions, type LlamacppOptions } from './options.ts';

const log = pino({ level: 'silent' });

/** Runs requests on an engine and keeps its steps. */
class Runner {
  readonly steps: StepBatch[] = [];
  readonly #waiting = new Map<
    number,
    { tokens: number[]; done(result: { tokens: number[]; finished: Finished }): void }
  >();
  #next = 1;
  readonly engine: Engine;

  constructor(engine: Engine) {
    this.engine = engine;
  }

  start(): Promise<void> {
    const onStep = (step: StepBatch): void => {
      this.steps.push(step);
      for (const [entry, handle] of step.handles.entries()) {
        this.#waiting.get(handle)?.tokens.push(step.tokenIds[entry] ?? -1);
      }
      for (const finished of step.finished) {
        const waiting = this.#waiting.get(finished.handle);
        waiting?.done({ tokens: waiting.tokens, finished });
      }
    };
    const onFatal = (error: Error): never => {
      throw error;
    };
    return this.engine.start({ onStep, onFatal }, { signal: new AbortController().signal });
  }

  run(request: MessageInitShape<typeof GenerateRequestSchema>): Promise<{ tokens: number[]; finished: Finished }> {
    const handle = this.#next++;
    const result = new Promise<{ tokens: number[]; finished: Finished }>((done) => {
      this.#waiting.set(handle, { tokens: [], done });
    });
    this.engine.submit(handle, create(GenerateRequestSchema, request));
    return result;
  }
}

function thrownBy(call: () => unknown): StatorError {
  try {
    call();
  } catch (error) {
    if (error instanceof StatorError) return error;
    throw error;
  }
  return expect.fail('nothing was thrown');
}

describe(`llamacpp worker: engine${skippedBecause}`, function () {
  this.timeout(120_000);
  let options: LlamacppOptions;
  let runner: Runner;
  let prompt: number[];
  let cacheDir: string;

  before(async function () {
    if (smolLm2 === undefined) return this.skip();
    cacheDir = mkdtempSync(path.join(os.tmpdir(), 'stator-digests-'));
    const sizes = {
      contextLength: 512,
      kvTokens: 1024,
      threads: 1,
      maxQueuedSequences: 4,
      maxSequences: 2,
      flashAttention: false,
    };
    options = { ...defaultOptions, ...sizes, modelPath: smolLm2, cacheDir };
    runner = new Runner(await createEngine(options, log));
    await runner.start();
    const text = '<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n';
    prompt = [...(runner.engine.text?.encode?.(text) ?? [])];
  });

  after(async () => {
    await runner?.engine.stop();
    if (cacheDir !== undefined) rmSync(cacheDir, { recursive: true });
  });

  it('describes itself truthfully', () => {
    const { card } = runner.engine;
    expect(card.name).to.equal('SmolLM2-135M-Instruct');
    expect(card.artifacts[0]?.sha256).to.have.length(32);
    expect(card.digest).to.have.length(32);
    expect(card.limits).to.include({ contextLength: 512, maxSequences: 2, kvBlockSize: 16, kvBlocks: 64n });
    expect(card.capabilities?.tasks).to.deep.equal([Task.CHAT, Task.COMPLETION]);
    expect(card.capabilities?.guidedModes).to.include.members([GuidedMode.REGEX, GuidedMode.STRUCTURAL_TAG]);
    expect(card.capabilities).to.include({ kvEvents: true, kvTransfer: false, sleep: false, embeddingDimensions: 0 });
    expect(card.tokenizer?.eosTokenIds).to.include(2);
    expect(card.tokenizer?.chatTemplate).to.include('im_start');
  });

  it('generates, counts and reports', async () => {
    const { tokens, finished } = await runner.run({
      tokenIds: prompt,
      sampling: { temperature: 0 },
      output: { topLogprobs: 2 },
    });
    const { data, offsets } = runner.engine.text?.table ?? expect.fail('no text');
    const text = Buffer.concat(tokens.map((token) => data.subarray(offsets[token], offsets[token + 1]))).toString();
    expect(text).to.equal('The capital of France is Paris.');
    expect(finished).to.include({ reason: FinishReason.STOP, stopTokenId: 2, error: null, handoff: null });
    expect(finished.usage).to.include({ promptTokens: prompt.length, outputTokens: tokens.length });
    expect(runner.steps.flatMap((step) => step.prefilled)).to.have.length(1);
    expect(runner.steps.flatMap((step) => step.logprobs)).to.have.length(tokens.length);
    expect(runner.steps.some((step) => step.forwardPass?.prefillTokens === prompt.length)).to.equal(true);
  });

  it('has a snapshot that agrees with its events', async () => {
    await runner.run({ tokenIds: [...prompt, ...prompt, ...prompt], stop: { maxTokens: 5 } });
    const held = new Set<bigint>();
    for (const { change } of runner.steps.flatMap((step) => step.kvEvents)) {
      if (change.case === 'stored') for (const hash of unpackHashes(change.value.sequenceHashes)) held.add(hash);
      if (change.case === 'removed') for (const hash of unpackHashes(change.value.sequenceHashes)) held.delete(hash);
    }
    const snapshot = [...runner.engine.kvSnapshot()].flatMap(({ change }) =>
      change.case === 'stored' ? [...unpackHashes(change.value.sequenceHashes)] : [],
    );
    expect(new Set(snapshot)).to.deep.equal(held);
    expect(held.size).to.be.greaterThan(2);
    const [load] = runner.engine.load();
    expect(load).to.include({
      runningSequences: 0,
      queuedSequences: 0,
      cachedKvBlocks: BigInt(held.size),
      totalKvBlocks: 64n,
    });
    expect(await runner.engine.clearCache()).to.equal(held.size);
    expect([...runner.engine.kvSnapshot()]).to.deep.equal([]);
  });

  it('keeps to a JSON Schema, to a choice, to JSON', async () => {
    const schema = {
      type: 'object',
      properties: { city: { enum: ['Paris', 'Rome'] }, inhabitants: { type: 'integer' }, capital: { type: 'boolean' } },
      required: ['city', 'capital'],
    };
    const text = ({ tokens }: { tokens: number[] }) => {
      const { data, offsets } = runner.engine.text?.table ?? expect.fail('no text');
      return Buffer.concat(tokens.map((token) => data.subarray(offsets[token], offsets[token + 1]))).toString();
    };
    const base = { tokenIds: prompt, sampling: { temperature: 1, seed: 5n }, stop: { maxTokens: 80 } };
    const guided = await runner.run({
      ...base,
      guided: { constraint: { case: 'jsonSchema', value: JSON.stringify(schema) } },
    });
    const answer = JSON.parse(text(guided));
    expect(['Paris', 'Rome']).to.include(answer.city);
    expect(answer.capital).to.be.a('boolean');
    const choice = await runner.run({
      ...base,
      guided: { constraint: { case: 'choice', value: { choices: ['yes "indeed"', 'no\n'] } } },
    });
    expect(['yes "indeed"', 'no\n']).to.include(text(choice));
  });

  it('refuses what the card does not promise, naming the field', () => {
    const wrong: [MessageInitShape<typeof GenerateRequestSchema>, string, string][] = [
      [{ tokenIds: [] }, 'invalid_argument', 'token_ids'],
      [{ tokenIds: [1, 49_152] }, 'invalid_argument', 'token_ids[1]'],
      [{ tokenIds: new Array(512).fill(100) }, 'context_length_exceeded', 'token_ids'],
      [{ tokenIds: [1], sampling: { temperature: -1 } }, 'invalid_argument', 'sampling.temperature'],
      [{ tokenIds: [1], sampling: { topP: 0 } }, 'invalid_argument', 'sampling.top_p'],
      [{ tokenIds: [1], sampling: { logitBias: { 60000: 1 } } }, 'invalid_argument', 'sampling.logit_bias[0]'],
      [{ tokenIds: [1], output: { topLogprobs: 21 } }, 'invalid_argument', 'output.top_logprobs'],
      [{ tokenIds: [1], guided: { constraint: { case: 'regex', value: '(?=a)' } } }, 'unsupported', 'guided.regex'],
      [
        { tokenIds: [1], guided: { constraint: { case: 'grammar', value: 'root ::= (' } } },
        'invalid_argument',
        'guided.grammar',
      ],
      [{ tokenIds: [1], prefillOnly: true }, 'unsupported', 'prefill_only'],
      [{ tokenIds: [1], adapter: 'none' }, 'not_found', 'adapter'],
      [{ tokenIds: [1], model: 'other' }, 'model_not_found', 'model'],
      [{ tokenIds: [1, 2], resumedOutputTokens: 3 }, 'invalid_argument', 'resumed_output_tokens'],
    ];
    for (const [request, code, field] of wrong) {
      const error = thrownBy(() => runner.engine.submit(9999, create(GenerateRequestSchema, request)));
      expect([error.code, error.field]).to.deep.equal([code, field]);
    }
  });

  it('refuses beyond its queue and works again after', async () => {
    const long = { tokenIds: prompt, stop: { maxTokens: 12, ignoreEos: true } };
    const running = Array.from({ length: 6 }, () => runner.run(long));
    expect(thrownBy(() => runner.engine.submit(9999, create(GenerateRequestSchema, long))).code).to.equal('overloaded');
    const results = await Promise.all(running);
    expect(results.every(({ tokens }) => tokens.length === 12)).to.equal(true);
    expect((await runner.run(long)).tokens).to.have.length(12);
  });

  it('refuses adapters that are none', async () => {
    const load = async (uri: string) =>
      runner.engine.loadAdapter?.({ $typeName: 'stator.model.v1.Adapter', name: 'a', uri, sha256: new Uint8Array() });
    for (const [uri, code] of [
      ['/none.gguf', 'not_found'],
      ['s3://bucket/a', 'invalid_argument'],
      [options.modelPath, 'invalid_argument'],
      [import.meta.filename, 'invalid_argument'],
    ] as const) {
      const error: unknown = await load(uri).then(
        () => expect.fail(`${uri} was loaded`),
        (thrown: unknown) => thrown,
      );
      expect(error, uri).to.be.instanceOf(StatorError).with.property('code', code);
    }
    expect(runner.engine.listAdapters?.()).to.deep.equal([]);
  });

  it('says why it cannot start', async () => {
    const cases: [Partial<LlamacppOptions>, string][] = [
      [{ modelPath: path.join(cacheDir, 'none.gguf') }, 'not_found'],
      [{ modelPath: cacheDir }, 'invalid_argument'],
      [{ modelPath: import.meta.filename }, 'invalid_argument'],
      [{ contextLength: 1_000_000 }, 'invalid_argument'],
      [{ kvTokens: 100 }, 'invalid_argument'],
      [{ gpuLayers: 4 }, 'not_ready'],
    ];
    for (const [change, code] of cases) {
      const engine = new Runner(new LlamacppEngine({ ...options, ...change }, log));
      const error: unknown = await engine.start().then(
        () => expect.fail('it started'),
        (thrown: unknown) => thrown,
      );
      expect(error, JSON.stringify(change)).to.be.instanceOf(StatorError).with.property('code', code);
    }
  });

  it('embeds where pooling is asked for', async () => {
    const embedding = await createEngine({ ...options, pooling: 'mean' }, log);
    await new Runner(embedding).start();
    expect(embedding.card.capabilities).to.include({
      pooling: Pooling.MEAN,
      embeddingDimensions: 576,
      kvEvents: false,
    });
    expect(embedding.card.capabilities?.tasks).to.deep.equal([Task.EMBEDDING]);
    const encode = (text: string) => ({ tokenIds: embedding.text?.encode?.(text) ?? new Uint32Array() });
    const call = { pooling: Pooling.UNSPECIFIED, normalize: true, signal: new AbortController().signal };
    const texts = Array.from({ length: 40 }, (_, index) => encode(`The number ${index} is a number.`));
    const [vectors, [alone]] = await Promise.all([
      embedding.embed?.(texts, call) ?? [],
      embedding.embed?.([encode('The number 7 is a number.')], call) ?? [],
    ]);
    expect(vectors).to.have.length(40);
    const dot = (a: Float32Array | undefined, b: Float32Array | undefined) =>
      a?.reduce((sum, value, index) => sum + value * (b?.[index] ?? 0), 0);
    expect(dot(vectors[0], vectors[0])).to.be.closeTo(1, 1e-4);
    expect(dot(vectors[7], alone)).to.be.closeTo(1, 0.01);
    expect(thrownBy(() => embedding.submit(1, create(GenerateRequestSchema, { tokenIds: [1] }))).code).to.equal(
      'unsupported',
    );
    const late = embedding.embed?.(texts, call);
    await Promise.all([embedding.stop(), embedding.stop()]);
    expect(
      await late?.then(
        () => 'done',
        (error: unknown) => (error instanceof StatorError ? error.code : error),
      ),
    ).to.equal('not_ready');
  });

  it('stops while it computes, twice', async () => {
    const engine = new Runner(await createEngine(options, log));
    await engine.start();
    void engine.run({ tokenIds: prompt, stop: { maxTokens: 400, ignoreEos: true } });
    await Promise.all([engine.engine.stop(), engine.engine.stop()]);
    const steps = engine.steps.length;
    await engine.engine.stop();
    expect(engine.steps).to.have.length(steps);
    expect(thrownBy(() => engine.engine.submit(5, create(GenerateRequestSchema, { tokenIds: prompt }))).code).to.equal(
      'not_ready',
    );
  });
});
