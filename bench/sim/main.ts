// Speed of `stator replay` and of Dynamo's offline simulator on the same trace, each run in a process of its own.
import { execFile } from 'node:child_process';
import { access, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { defaultEngineSettings } from '#core/scheduling/engine/settings.ts';
import { cacheDirectory } from '#lib/config/directories.ts';
import { generateMooncakeLike } from '#sim/traces/mooncake-like.ts';
import { writeTrace } from '#sim/traces/write-trace.ts';
import { type BenchOptions, type BenchReport, type BenchRow, benchRow } from '../report.ts';
import type { Measured, Measurement } from './child.ts';

/** The trace is sped up so that a worker gets as many requests in each run. */
const speedupOfWorker = 0.3;
const targetSeconds = 60;
const python = path.join(cacheDirectory(), 'bench', 'dynamo-venv', 'bin', 'python');

export async function run({ quick }: BenchOptions): Promise<BenchReport> {
  const folder = await mkdtemp(path.join(tmpdir(), 'bench-sim-'));
  const isInstalled = await access(python).then(
    () => true,
    () => false,
  );
  if (!isInstalled)
    process.stderr.write(
      'NVIDIA Dynamo is not installed: no anchor. Get it with: sh bench/routing/install-dynamo.sh\n',
    );
  const rows: BenchRow[] = [];
  try {
    for (const { workers, requests } of [
      { workers: 1, requests: quick ? 500 : 5000 },
      { workers: 8, requests: quick ? 1000 : 25_000 },
      { workers: 64, requests: quick ? 2000 : 100_000 },
    ]) {
      const trace = path.join(folder, `${requests}.jsonl`);
      await writeTrace(trace, generateMooncakeLike({ requests, seed: 1 }));
      for (const mode of ['kv', 'round-robin'] as const) {
        const measurement = { trace, workers, mode, speedup: workers * speedupOfWorker };
        const ours = await measured(measurement, requests);
        const anchor = isInstalled ? await measuredDynamo(measurement, requests) : undefined;
        const target = workers === 64 && !quick ? targetSeconds : undefined;
        rows.push(...rowsOf(`${workers} × ${mode}`, requests, { ours, anchor, target }));
      }
    }
  } finally {
    await rm(folder, { recursive: true });
  }
  return { bench: 'sim', rows };
}

function rowsOf(
  name: string,
  requests: number,
  o: { readonly ours: Measured; readonly anchor: Measured | undefined; readonly target: number | undefined },
): BenchRow[] {
  const of = (figure: (measured: Measured) => number) => ({
    ours: figure(o.ours),
    ...(o.anchor === undefined ? {} : { anchor: figure(o.anchor) }),
  });
  const target = o.target === undefined ? {} : { target: o.target };
  return [
    benchRow({ line: name, unit: 'requests/s', ...of(({ seconds }) => requests / seconds), better: 'higher' }),
    benchRow({ line: `${name}, ${requests} requests`, unit: 's', ...of(({ seconds }) => seconds) }),
    benchRow({ line: `${name}, processor time`, unit: 's', ...of(({ cpuSeconds }) => cpuSeconds), ...target }),
    benchRow({ line: `${name}, most memory`, unit: 'MiB', ...of(({ peakMib }) => peakMib) }),
  ];
}

async function measured(measurement: Measurement, requests: number): Promise<Measured> {
  const child = path.join(import.meta.dirname, 'child.ts');
  const flags = ['--conditions=source', '--no-warnings=ExperimentalWarning', child, JSON.stringify(measurement)];
  return resultOf(process.execPath, flags, requests);
}

async function measuredDynamo(measurement: Measurement, requests: number): Promise<Measured> {
  const { blockSize, totalBlocks, maxSequences, maxBatchedTokens } = defaultEngineSettings;
  const engine = {
    block_size: blockSize,
    num_gpu_blocks: totalBlocks,
    max_num_seqs: maxSequences,
    max_num_batched_tokens: maxBatchedTokens,
  };
  const script = path.join(import.meta.dirname, 'dynamo-replay.py');
  return resultOf(python, [script, JSON.stringify({ ...measurement, engine })], requests);
}

async function resultOf(program: string, args: readonly string[], requests: number): Promise<Measured> {
  const { stdout } = await promisify(execFile)(program, args, { maxBuffer: 64 * 1024 * 1024 });
  const result = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Measured;
  if (result.completed !== requests)
    throw new Error(`${program} completed ${result.completed} of ${requests} requests`);
  return result;
}
