// Speed of `stator replay`: requests of a Mooncake-like trace per second of real time, each run in a process of its own.
import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { type BenchOptions, type BenchReport, type BenchRow, benchRow } from '../report.ts';
import type { Measured, Measurement } from './child.ts';

/** The trace is sped up so that a worker gets as many requests in each run. */
const speedupOfWorker = 0.3;
const targetSeconds = 60;

export async function run({ quick }: BenchOptions): Promise<BenchReport> {
  const rows: BenchRow[] = [];
  for (const { workers, requests } of [
    { workers: 1, requests: quick ? 500 : 5000 },
    { workers: 8, requests: quick ? 1000 : 25_000 },
    { workers: 64, requests: quick ? 2000 : 100_000 },
  ])
    for (const mode of ['kv', 'round-robin'] as const)
      rows.push(...(await rowsOf({ workers, requests, mode, speedup: workers * speedupOfWorker }, quick)));
  return { bench: 'sim', rows };
}

async function rowsOf(measurement: Measurement, quick: boolean): Promise<BenchRow[]> {
  const { workers, requests, mode } = measurement;
  const { seconds, cpuSeconds, passes, peakMib } = await measured(measurement);
  const name = `${workers} ${workers === 1 ? 'worker' : 'workers'}, ${mode}`;
  const target = workers === 64 && !quick ? { target: targetSeconds } : {};
  return [
    benchRow({ line: name, unit: 'requests/s', ours: requests / seconds, better: 'higher' }),
    benchRow({ line: `${name}, passes`, unit: 'million/s', ours: passes / seconds / 1e6, better: 'higher' }),
    benchRow({ line: `${name}, ${requests} requests`, unit: 's', ours: seconds, ...target }),
    benchRow({ line: `${name}, processor time`, unit: 's', ours: cpuSeconds }),
    benchRow({ line: `${name}, most memory`, unit: 'MiB', ours: peakMib }),
  ];
}

async function measured(measurement: Measurement): Promise<Measured> {
  const child = path.join(import.meta.dirname, 'child.ts');
  const flags = ['--conditions=source', '--no-warnings=ExperimentalWarning', child, JSON.stringify(measurement)];
  const { stdout } = await promisify(execFile)(process.execPath, flags);
  return JSON.parse(stdout) as Measured;
}
