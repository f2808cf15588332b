// The same trace through our simulator, our services, Dynamo's simulator and Dynamo itself. bench/README.md tells how to read it.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type BenchOptions, type BenchReport, type BenchRow, median } from '#bench/report.ts';
import { writeTrace } from '#sim/traces/write-trace.ts';
import { dynamoInstalled, howToInstall, simulateDynamo, startDynamo } from './dynamo.ts';
import { type FigureName, type Figures, figureNames, figures } from './figures.ts';
import type { Run } from './plan.ts';
import { replayOnline, replayVirtually, startStator } from './stator.ts';
import { conversations } from './trace.ts';

/** Runs of one policy, each the figures of a round. */
interface Measured {
  readonly virtual: Figures[];
  /** With the frontend's delay as one request at a time met it. */
  readonly delayed: Figures[];
  readonly live: Figures[];
  readonly dynamoVirtual: Figures[];
  readonly dynamoLive: Figures[];
}

/** A trace with other prompts goes before each live run: code that was never run is slow. */
interface Traces {
  readonly measured: string;
  readonly warmUp: string;
  /** Played one request at a time, to tell how long the frontend takes. */
  readonly single: string;
}

/** `round-robin` is the control; `busy` is beyond what keeps the bounds. */
const scenarios = [
  { name: 'kv', policy: 'kv', speedup: 1, rounds: 2 },
  { name: 'round-robin', policy: 'round-robin', speedup: 1, rounds: 1 },
  { name: 'kv, busy', policy: 'kv', speedup: 1.5, rounds: 1 },
] as const;

/** Seeds of a simulator: both break ties by chance. */
const simulations = 9;

const say = (line: string): void => void process.stderr.write(`${line}\n`);

export async function run({ quick }: BenchOptions): Promise<BenchReport> {
  const withDynamo = await dynamoInstalled();
  if (!withDynamo) say(howToInstall);
  const folder = await mkdtemp(path.join(tmpdir(), 'stator-routing-'));
  try {
    const traces = {
      measured: path.join(folder, 'measured.jsonl'),
      warmUp: path.join(folder, 'warm-up.jsonl'),
      single: path.join(folder, 'single.jsonl'),
    };
    await writeTrace(traces.measured, conversations(quick ? 100 : 400, 1));
    await writeTrace(traces.warmUp, conversations(quick ? 40 : 80, 2, 1_000_000));
    await writeTrace(traces.single, conversations(30, 3, 2_000_000));
    const rows: BenchRow[] = [];
    for (const { name, policy, speedup, rounds } of quick ? scenarios.slice(0, 2) : scenarios) {
      const one = { policy, trace: traces.measured, speedup };
      const measured = await measure(name, one, traces, { rounds: quick ? 1 : rounds, withDynamo });
      rows.push(...rowsOf(name, measured));
    }
    return { bench: 'routing', rows };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function measure(
  name: string,
  one: Run,
  traces: Traces,
  { rounds, withDynamo }: { readonly rounds: number; readonly withDynamo: boolean },
): Promise<Measured> {
  const virtual: Figures[] = [];
  for (let seed = 1; seed <= simulations; seed++) virtual.push(await replayVirtually(one, { seed }));
  const dynamoVirtual = withDynamo ? await simulateDynamo(one, simulations) : [];
  const live: Figures[] = [];
  const frontendMs: number[] = [];
  const dynamoLive: Figures[] = [];
  for (let round = 1; round <= rounds; round++) {
    say(`${name}: round ${round} of ${rounds} …`);
    const stator = await measureStator(one, traces);
    live.push(stator.figures);
    frontendMs.push(stator.frontendMs);
    if (withDynamo) dynamoLive.push(await measureDynamo(one, traces));
  }
  say(`${name}: the frontend takes ${frontendMs.map((ms) => ms.toFixed(1)).join(', ')} ms`);
  const delayed: Figures[] = [];
  for (let seed = 1; seed <= simulations; seed++)
    delayed.push(await replayVirtually(one, { seed, frontendMs: median(frontendMs) }));
  return { virtual, delayed, live, dynamoVirtual, dynamoLive };
}

async function measureStator(
  one: Run,
  { warmUp, single }: Traces,
): Promise<{ readonly figures: Figures; readonly frontendMs: number }> {
  await using stator = await startStator(one.policy);
  await replayOnline(stator.url, { ...one, trace: warmUp });
  const alone = { ...one, trace: single };
  const { ttftP50: real } = await replayOnline(stator.url, alone, { concurrency: 1 });
  const { ttftP50: simulated } = await replayVirtually(alone, { concurrency: 1 });
  return { figures: await replayOnline(stator.url, one), frontendMs: Math.max(0, real - simulated) };
}

async function measureDynamo(one: Run, { warmUp }: Traces): Promise<Figures> {
  await using dynamo = await startDynamo(one.policy);
  await replayOnline(dynamo.url, { ...one, trace: warmUp });
  return await replayOnline(dynamo.url, one);
}

function rowsOf(scenario: string, { virtual, delayed, live, dynamoVirtual, dynamoLive }: Measured): BenchRow[] {
  return [
    ...figureNames.map((name) => noWorse(`${scenario}, live: ${figures[name].line}`, name, live, dynamoLive)),
    ...figureNames.map((name) =>
      agreeing(`${scenario}, simulated: ${figures[name].line}`, name, virtual, dynamoVirtual),
    ),
    ...figureNames.map((name) => agreeing(`${scenario}, simulated / live: ${figures[name].line}`, name, delayed, live)),
  ];
}

/** Ours is to be as good as the anchor, but for the tolerance. */
function noWorse(line: string, name: FigureName, ours: readonly Figures[], anchor: readonly Figures[]): BenchRow {
  const row = compared(line, name, ours, anchor);
  if (row.anchor === null) return row;
  const { better, tolerance } = figures[name];
  const target = row.anchor * (better === 'lower' ? 1 + tolerance : 1 - tolerance);
  return { ...row, target, ok: better === 'lower' ? row.ours <= target : row.ours >= target };
}

/** Both are to be the same, but for the tolerance: the target is the anchor. */
function agreeing(line: string, name: FigureName, ours: readonly Figures[], anchor: readonly Figures[]): BenchRow {
  const row = compared(line, name, ours, anchor);
  const ok = row.ratio === null || Math.abs(row.ratio - 1) <= figures[name].tolerance;
  return { ...row, target: row.anchor, ok };
}

/** Medians of the runs. */
function compared(line: string, name: FigureName, ours: readonly Figures[], anchor: readonly Figures[]): BenchRow {
  const own = median(ours.map((of) => of[name]));
  const other = median(anchor.map((of) => of[name]));
  const known = Number.isFinite(other);
  const { unit } = figures[name];
  const comparison = known ? { anchor: other, ratio: own / other } : { anchor: null, ratio: null };
  return { line, unit, ours: own, ...comparison, target: null, ok: true };
}
