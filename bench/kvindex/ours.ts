// Measures our index as the router uses it, in a process of its own. Takes one command a line and answers each with one line
// of JSON, as harness/src/main.rs does for the crate.
import { createInterface } from 'node:readline';
import { hashBlocks } from '#native/tokens/index.ts';
import { LoadedIndex } from './loaded-index.ts';

let loaded: LoadedIndex | undefined;

for await (const line of createInterface({ input: process.stdin })) {
  const [command = '', first = '', second = ''] = line.split(' ');
  process.stdout.write(`${JSON.stringify(await answer(command, first, second))}\n`);
}

async function answer(command: string, first: string, second: string): Promise<object> {
  if (command === 'hash') return hash(Number(first), Number(second));
  if (command === 'load') {
    loaded = await LoadedIndex.load(first);
    return loaded.weight;
  }
  if (loaded === undefined) throw new Error('nothing is loaded');
  switch (command) {
    case 'verify':
      return loaded.verify(Number(first));
    case 'find':
      return loaded.find(Number(first), Number(second));
    case 'batch':
      return loaded.findBatch(Number(first), Number(second));
    case 'latency':
      return loaded.latency(Number(first), Number(second));
    case 'churn':
      return loaded.churn(Number(first));
    case 'mixed':
      return loaded.mixed(Number(first), Number(second));
    default:
      throw new Error(`unknown command ${command}`);
  }
}

/** Local and sequence hashes of a prompt. */
function hash(tokens: number, minMs: number): object {
  const tokenIds = Uint32Array.from({ length: tokens }, (_, i) => i);
  let [passes, last] = [0, 0n];
  const start = performance.now();
  while (performance.now() - start < minMs) {
    last = hashBlocks(tokenIds, 64, { cacheSalt: '', adapter: '' }).sequenceHashes.at(-1) ?? 0n;
    passes++;
  }
  const micros = (performance.now() - start) * 1000;
  return { mtokPerSecond: (passes * tokens) / micros, last: `${last}` };
}
