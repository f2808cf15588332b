import { once } from 'node:events';
import { decodeBytes } from '#gateway/testing/byte-tokenizer.ts';
import { startHarness } from '#gateway/testing/harness.ts';
import { answering, ScriptedWorker } from '#gateway/testing/scripted-worker.ts';

// A process of tests/store: a gateway as its argument says.
const gateway = await startHarness(JSON.parse(process.argv[2] ?? '{}'));
const answer = answering('Yes');
const worker = new ScriptedWorker((sequence) => {
  if (!decodeBytes(sequence.request.tokenIds).includes('hang')) return answer(sequence);
  sequence.prefilled();
  sequence.tokens('…');
});
gateway.addWorker(1n, worker);
process.send?.(gateway.url);
await once(process, 'SIGTERM');
await gateway[Symbol.asyncDispose]();
process.disconnect?.();
