// Child process of lifecycle.test.ts: does one thing with the addon and ends in the way its name says.
import { Worker } from 'node:worker_threads';
import { engineStop, modelFree, modelLoad, setLogger, vocabLoad, vocabTokenize } from '../index.ts';
import { chat, TestEngine } from './harness.ts';
import { codeOf, exportBlocks } from './kv-blocks.ts';

const [scenario = '', file = ''] = process.argv.slice(2);

async function decoding(): Promise<TestEngine> {
  const model = await modelLoad(file);
  const engine = await TestEngine.create(model);
  modelFree(model);
  const tokens = await vocabTokenize(await vocabLoad(file), 'Once upon a time', {
    addSpecial: true,
    parseSpecial: false,
  });
  const first = new Promise<void>((resolve) => {
    engine.onStep = (step) => step.handles.length > 0 && resolve();
  });
  void engine.generate(tokens, { maxTokens: 900, ignoreEos: true });
  void engine.generate(tokens, { maxTokens: 900, ignoreEos: true, temperature: 1 });
  await first;
  return engine;
}

const scenarios: Record<string, () => Promise<void>> = {
  'exit while decoding': async () => {
    await decoding();
    process.exit(0);
  },
  'exit while loading': async () => {
    void modelLoad(file);
    process.exit(0);
  },
  'throw while decoding': async () => {
    const engine = await decoding();
    engine.onStep = () => {
      throw new Error('expected');
    };
    await new Promise((resolve) => setTimeout(resolve, 60_000));
  },
  'exit while blocks are copied': async () => {
    const engine = await TestEngine.create(await modelLoad(file), { kvSliceUs: 1 });
    const tokens = Uint32Array.from({ length: 64 }, (_, index) => 1000 + index);
    await engine.generate(tokens, { maxTokens: 0 });
    const copies = Array.from({ length: 200 }, () => exportBlocks(engine, tokens, 0, 4));
    await copies[0];
    process.exit(0);
  },
  'stop while blocks are copied': async () => {
    const engine = await TestEngine.create(await modelLoad(file), { kvSliceUs: 1 });
    const tokens = Uint32Array.from({ length: 64 }, (_, index) => 1000 + index);
    await engine.generate(tokens, { maxTokens: 0 });
    const copies = Array.from({ length: 200 }, () => codeOf(exportBlocks(engine, tokens, 0, 4)));
    await copies[0];
    await engineStop(engine.handle);
    const codes = new Set(await Promise.all(copies));
    if ([...codes].some((code) => code !== 'none' && code !== 'not_ready')) throw new Error([...codes].join());
  },
  'idle engine lets the process end': async () => {
    setLogger(() => {});
    const model = await modelLoad(file);
    const engine = await TestEngine.create(model);
    await engine.generate(await chat(model, 'Hello'), { maxTokens: 2 });
  },
  'stop twice at once while decoding': async () => {
    const engine = await decoding();
    await Promise.all([engineStop(engine.handle), engineStop(engine.handle)]);
    await engineStop(engine.handle);
  },
  'dropped engine is collected': async () => {
    for (let i = 0; i < 3; i++) await decoding();
    for (let i = 0; i < 20; i++) {
      global.gc?.();
      await new Promise((resolve) => setImmediate(resolve));
    }
    // Whatever was not collected still decodes.
    process.exit(0);
  },
  'worker threads': async () => {
    const run = (mode: string) =>
      new Promise<number>((resolve, reject) => {
        const worker = new Worker(new URL('./lifecycle-worker.ts', import.meta.url), { argv: [mode, file] });
        worker.on('message', () => mode === 'terminate' && void worker.terminate());
        worker.on('error', reject);
        worker.on('exit', resolve);
      });
    await Promise.all([run('finish'), run('terminate'), run('exit')]);
    await run('finish');
  },
};

await scenarios[scenario]?.();
process.stdout.write(`ended: ${scenario}\n`);
