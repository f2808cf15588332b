// Our KV index against the crate dynamo-kv-router on the same data, side by side. bench/README.md tells how to read it.
import path from 'node:path';
import { cacheDirectory } from '#lib/config/directories.ts';
import type { BenchOptions, BenchReport, BenchRow } from '../report.ts';
import { type Effort, measureCell, nameOf, startAnchor, startOurs } from './cell.ts';
import { type Comparison, rowOf } from './comparison.ts';
import { dataFile, type Shape } from './data.ts';
import { buildHarness } from './harness.ts';

const million = 1_000_000;
const quickCells: readonly Shape[] = [64, 512].flatMap((workers) =>
  [0, 8].map((commonBlocks) => ({ blocks: million, workers, commonBlocks })),
);
const allCells: readonly Shape[] = [
  ...[0, 8].map((commonBlocks) => ({ blocks: million, workers: 4, commonBlocks })),
  ...quickCells,
  ...[0, 8].map((commonBlocks) => ({ blocks: 10 * million, workers: 64, commonBlocks })),
];

export async function run({ quick }: BenchOptions): Promise<BenchReport> {
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  const folder = path.join(cacheDirectory(), 'bench', 'kvindex');
  const program = await buildHarness(folder, say);
  const rows = await hashing(program, quick ? 3 : 7);
  for (const shape of quick ? quickCells : allCells) {
    say(`${nameOf(shape)} …`);
    rows.push(...(await measureCell(shape, await dataFile(folder, shape), program, effortFor(shape, quick))));
  }
  return { bench: 'kvindex', rows };
}

function effortFor({ blocks }: Shape, quick: boolean): Effort {
  const effort = { findMs: 150, latencyPasses: 4, mixedRounds: 8, singleBlocks: blocks <= million };
  return { ...effort, rounds: quick ? 3 : 5 };
}

/** Local and sequence hashes of prompts; both must hash alike. */
async function hashing(program: string, rounds: number): Promise<BenchRow[]> {
  await using ours = startOurs();
  await using anchor = startAnchor(program);
  const rows: BenchRow[] = [];
  for (const tokens of [4096, 131_072]) {
    const line = `block hashes of ${tokens} tokens`;
    const comparison: Comparison = { line, unit: 'Mtok/s', better: 'higher', factor: 1, ours: [], anchor: [] };
    for (let round = 0; round < rounds; round++) {
      const [mine, other] = [await ours.ask('hash', tokens, 200), await anchor.ask('hash', tokens, 200)];
      if (mine['last'] !== other['last']) throw new Error(`${line}: we end with ${mine['last']}, the crate not`);
      comparison.ours.push(Number(mine['mtokPerSecond']));
      comparison.anchor.push(Number(other['mtokPerSecond']));
    }
    rows.push(rowOf(comparison));
  }
  return rows;
}
