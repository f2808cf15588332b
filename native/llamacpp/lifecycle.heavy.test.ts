import { spawn } from 'node:child_process';
import { expect } from 'chai';
import {
  embedderCreate,
  engineStop,
  engineSubmit,
  modelFree,
  modelInfo,
  modelLoad,
  vocabLoad,
  vocabTokenize,
} from './index.ts';
import { neutral, TestEngine, testOptions } from './testing/harness.ts';
import { skippedBecause, smolLm2 } from './testing/model.ts';

const script = new URL('./testing/lifecycle-child.ts', import.meta.url).pathname;

interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly output: string;
}

function runChild(scenario: string, file: string): Promise<Ended> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ['--conditions=source', '--expose-gc', script, scenario, file]);
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.on('close', (code, signal) => resolve({ code, signal, output }));
  });
}

describe(`llama.cpp addon: life and death${skippedBecause}`, function () {
  this.timeout(180_000);
  let file = '';

  before(function () {
    if (smolLm2 === undefined) return this.skip();
    file = smolLm2;
  });

  for (const scenario of [
    'exit while decoding',
    'exit while loading',
    'exit while blocks are copied',
    'stop while blocks are copied',
    'idle engine lets the process end',
    'stop twice at once while decoding',
    'dropped engine is collected',
    'worker threads',
  ]) {
    it(`survives: ${scenario}`, async () => {
      const { code, signal, output } = await runChild(scenario, file);
      expect(signal, output).to.equal(null);
      expect(code, output).to.equal(0);
    });
  }

  it('treats a throwing listener as an uncaught exception', async () => {
    const { code, signal, output } = await runChild('throw while decoding', file);
    expect(signal, output).to.equal(null);
    expect(code, output).to.equal(1);
    expect(output).to.include('Error: expected');
  });

  it('refuses wrong and freed handles instead of crashing', async () => {
    const model = await modelLoad(file);
    const engine = await TestEngine.create(model);
    expect(() => Reflect.apply(modelInfo, undefined, [engine.handle])).to.throw(TypeError, 'not a model handle');
    expect(() => Reflect.apply(modelInfo, undefined, [{}])).to.throw(TypeError, 'not a model handle');
    expect(() => Reflect.apply(engineSubmit, undefined, [engine.handle, {}])).to.throw(TypeError);
    modelFree(model);
    modelFree(model);
    expect(() => modelInfo(model)).to.throw('freed before');
    await engineStop(engine.handle);
    const request = { ...neutral, handle: 1, tokenIds: Uint32Array.of(1) };
    expect(() => engineSubmit(engine.handle, request))
      .to.throw()
      .with.property('code', 'not_ready');
    await engineStop(engine.handle);
    const vocab = await vocabLoad(file);
    for (const create of [
      TestEngine.create(vocab),
      embedderCreate(vocab, { batchTokens: 8, maxSequences: 1, threads: 1, pooling: 1 }),
    ]) {
      expect(
        await create.then(
          () => 'created',
          (error: unknown) => Reflect.get(Object(error), 'code'),
        ),
      ).to.equal('invalid_argument');
    }
  });

  it('does not grow over 200 cycles of load, generate and stop', async () => {
    const tokens = await vocabTokenize(await vocabLoad(file), 'Hello', { addSpecial: true, parseSpecial: false });
    const cycle = async (): Promise<void> => {
      const model = await modelLoad(file);
      const engine = await TestEngine.create(model, {
        ...testOptions,
        kvCells: 256,
        contextLength: 64,
        maxSequences: 2,
      });
      const running = engine.start(tokens, { maxTokens: 2 });
      engine.start(tokens, { maxTokens: 40, temperature: 1, grammar: 'root ::= [a-z ]+', topLogprobs: 3 });
      await running.result;
      await engineStop(engine.handle);
      modelFree(model);
    };
    for (let i = 0; i < 20; i++) await cycle();
    const before = process.memoryUsage.rss();
    for (let i = 0; i < 180; i++) await cycle();
    // A context with its cache is about 10 MB here and the vocabulary another 20: losing either even rarely shows.
    expect(process.memoryUsage.rss() - before).to.be.lessThan(96 * 2 ** 20);
  });
});
