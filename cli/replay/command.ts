import { StatorError } from '#lib/errors/errors.ts';
import { configure } from '#lib/service/configure.ts';
import type { ReplayReport } from '#sim/report/report.ts';
import { renderReportJson } from '#sim/report/report-json.ts';
import { renderSweepJson, type SweepReport, sweepSchemaName } from '#sim/report/sweep.ts';
import { writeTrace } from '#sim/traces/write-trace.ts';
import { runInterruptible } from '../run-interruptible.ts';
import { Progress } from '../ui/progress.ts';
import { ensurePresent } from '../up/addons.ts';
import { writeOutput } from './output.ts';
import { runOnce, toldSettings } from './run-once.ts';
import { type ReplaySettings, replaySettings } from './settings.ts';
import { reportOutput, sweepOutput } from './show.ts';
import { type Sweep, sweepOf } from './sweep.ts';
import { type Workload, workloadOf } from './workload.ts';

/** Settings that say where the report goes, and not what it is of. */
const hidden = new Set(['reportJson', 'plots', 'plotFormat', 'theme', 'seed', 'routerMode', 'sweep']);

/** `stator replay`: a trace under virtual time, or against a live deployment. */
export async function replay(argv: readonly string[]): Promise<void> {
  const summary =
    'Replays a trace of requests on simulated workers under virtual time, or with --online against a live deployment, and reports.';
  const loaded = configure({ name: 'replay', settings: replaySettings, argv, summary, positional: '[TRACE]' });
  if (loaded === undefined) return;
  const { settings, positional } = loaded;
  await runInterruptible('replay', async (signal) => {
    await ensurePresent(['tokens', 'kvindex'], (line) => process.stderr.write(`${line}\n`), signal);
    const sweep = sweepOf(settings);
    const workload = await workloadOf(positional, settings);
    if (settings.generate !== undefined) await generated(workload, settings.generate, settings);
    else if (sweep === undefined) await once(workload, settings, signal);
    else await swept(positional, sweep, settings, signal);
  });
}

/** Writes generated load as a trace. */
async function generated(workload: Workload, file: string, settings: ReplaySettings): Promise<void> {
  if (settings.synthetic === 'off')
    throw StatorError.invalid('--generate', '--generate needs --synthetic plain or --synthetic mooncake.');
  const rows = await writeTrace(file, workload.open(), workload.load.maxRequests);
  const blockTokens = settings.synthetic === 'plain' ? settings.traceBlockSize : 512;
  process.stdout.write(`${formatCount(rows)} requests, blocks of ${blockTokens} tokens: ${file}\n`);
}

async function once(workload: Workload, settings: ReplaySettings, signal: AbortSignal): Promise<void> {
  const report = await withProgress(workload, settings, signal);
  await writeOutput(reportOutput(report), renderReportJson(report), settings);
}

async function swept(
  files: readonly string[],
  sweep: Sweep,
  settings: ReplaySettings,
  signal: AbortSignal,
): Promise<void> {
  const points: SweepReport['points'][number][] = [];
  for (const value of sweep.values) {
    if (signal.aborted) break;
    const own = sweep.settingsFor(value);
    const label = `${sweep.over} ${value}, requests`;
    points.push({ value, report: await withProgress(await workloadOf(files, own), own, signal, label) });
  }
  const report: SweepReport = { schema: sweepSchemaName, over: sweep.over, points };
  await writeOutput(sweepOutput(report), renderSweepJson(report), settings);
}

/** Replays with a bar of the requests that are over. */
async function withProgress(
  workload: Workload,
  settings: ReplaySettings,
  signal: AbortSignal,
  label = 'requests',
): Promise<ReplayReport> {
  const progress = new Progress();
  const { load, expectedRequests } = workload;
  const known = Number.isNaN(expectedRequests) ? load.maxRequests : expectedRequests;
  const total = Number.isFinite(known) ? known : undefined;
  try {
    return await runOnce({
      ...{ workload, settings, signal },
      told: toldSettings(replaySettings, settings, hidden),
      onProgress: ({ finished }) => progress.transfer(label, finished, total, formatCount),
    });
  } finally {
    progress.endTransfer();
  }
}

function formatCount(count: number): string {
  return Math.round(count).toLocaleString('en');
}
