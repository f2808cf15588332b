// Worker thread of lifecycle-child.ts: computes in an environment of its own and ends in the way its mode says.
import { parentPort } from 'node:worker_threads';
import { modelLoad, setLogger } from '../index.ts';
import { chat, TestEngine } from './harness.ts';

const [mode = '', file = ''] = process.argv.slice(2);
setLogger(() => {});
const model = await modelLoad(file);
const engine = await TestEngine.create(model, { maxSequences: 2 });
const prompt = await chat(model, 'Hello');
engine.onStep = (step) => {
  if (step.handles.length === 0) return;
  parentPort?.postMessage('decoding');
  if (mode === 'exit') process.exit(0);
};
await engine.generate(prompt, { maxTokens: mode === 'finish' ? 3 : 900, ignoreEos: true });
await engine[Symbol.asyncDispose]();
