// How fast KV blocks leave and enter llama.cpp, against what llama.cpp itself takes for the state of the whole sequence, and
// how long running streams wait for their tokens meanwhile.
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { type BenchOptions, type BenchReport, type BenchRow, benchRow, MissingTool } from '#bench/report.ts';
import { modelFree, modelLoad, referenceState } from '#native/llamacpp/index.ts';
import { gemma3, smolLm2 } from '#native/llamacpp/testing/model.ts';
import { measureCopies } from './copies.ts';
import { EngineUnderTest } from './engine.ts';
import { measureWaits } from './waits.ts';

export async function run({ quick }: BenchOptions): Promise<BenchReport> {
  if (smolLm2 === undefined) throw new MissingTool('The default model is not here: stator pull fetches it.');
  const cacheDir = await mkdtemp(path.join(os.tmpdir(), 'stator-bench-kv-'));
  try {
    const rows = await ofModel('SmolLM2', smolLm2, cacheDir, quick);
    if (gemma3 !== undefined) rows.push(...(await ofModel('Gemma 3', gemma3, cacheDir, quick)));
    return { bench: 'kv-engine', rows };
  } finally {
    await rm(cacheDir, { recursive: true });
  }
}

async function ofModel(name: string, modelPath: string, cacheDir: string, quick: boolean): Promise<BenchRow[]> {
  const tokens = quick ? 256 : 1024;
  const rounds = quick ? 5 : 15;
  const rows: BenchRow[] = [];
  for (const blockSize of [16, 64]) {
    const options = { modelPath, cacheDir, blockSize, kvTokens: 9216, contextLength: 2048 };
    await using engine = await EngineUnderTest.start(options);
    const copies = await measureCopies(engine, tokens, rounds);
    const whole = await wholeState(modelPath, tokens, rounds);
    const label = `${name}, ${tokens} tokens in blocks of ${blockSize}`;
    rows.push(row(`${label}, out`, copies.outUs, copies.bytes, whole.outUs, whole.bytes));
    rows.push(row(`${label}, in`, copies.inUs, copies.bytes, whole.inUs, whole.bytes));
    rows.push(
      benchRow({
        line: `${label}, in against computing`,
        unit: 'ms',
        ours: Math.min(...copies.inUs) / 1000,
        anchor: copies.computeMs,
      }),
    );
    if (blockSize === 64) rows.push(...(await measureWaits(engine, label, quick ? 60 : 150)));
  }
  return rows;
}

async function wholeState(modelPath: string, tokens: number, rounds: number) {
  const model = await modelLoad(modelPath);
  try {
    const prompt = Uint32Array.from({ length: tokens }, (_, index) => 1000 + ((index * 37) % 15_000));
    return await referenceState(model, prompt, { cells: 9216, rounds });
  } finally {
    modelFree(model);
  }
}

/** Throughput of the best round, because load only lowers it, and as the target four fifths of what llama.cpp reaches. */
function row(
  line: string,
  us: readonly number[],
  bytes: number,
  anchorUs: readonly number[],
  anchorBytes: number,
): BenchRow {
  const anchor = anchorBytes / Math.min(...anchorUs) / 1000;
  return benchRow({
    line,
    unit: 'GB/s',
    ours: bytes / Math.min(...us) / 1000,
    anchor,
    target: 0.8 * anchor,
    better: 'higher',
  });
}
