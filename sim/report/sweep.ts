import { z } from 'zod';
import type { Figure } from './plots/figure.ts';
import { type ParetoPoint, paretoFigure } from './plots/sweep-figure.ts';
import { replayReport } from './report.ts';
import { decimal, frame, percent } from './table.ts';

export const sweepSchemaName = 'stator.replay.sweep/v1';

/** Reports of the same load over values of one setting, as `--report-json` writes them for `--sweep`. */
export const sweepReport = z.object({
  schema: z.literal(sweepSchemaName),
  over: z.string().describe('Name of the setting.'),
  points: z.array(z.object({ value: z.number(), report: replayReport })),
});

export type SweepReport = z.infer<typeof sweepReport>;

export function renderSweepJson(sweep: SweepReport): string {
  return `${JSON.stringify(sweepReport.parse(sweep), null, 2)}\n`;
}

/** A sweep and what people call it. */
export interface NamedSweep {
  readonly name: string;
  readonly sweep: SweepReport;
}

/** One row for each value. */
export function renderSweepTable({ over, points }: SweepReport, width = 100): string {
  const run = points[0]?.report.run;
  const title =
    run === undefined ? '' : `Sweep of ${run.trace} over ${over} · router ${run.routerMode} · seed ${run.seed}\n\n`;
  return `${title}${frame(measured([[over, ...columns], ...points.map(row)]), width, expendable)}\n`;
}

/** The rows of several sweeps over the same setting, value by value. */
export function renderSweepComparison(sweeps: readonly NamedSweep[], width = 120): string {
  const rows = sweeps.flatMap(({ name, sweep }, order) =>
    sweep.points.map((point) => ({ value: point.value, order, cells: [name, ...row(point)] })),
  );
  rows.sort((a, b) => a.value - b.value || a.order - b.order);
  const over = sweeps[0]?.sweep.over ?? '';
  return `${frame(measured([['', over, ...columns], ...rows.map(({ cells }) => cells)]), width, expendable)}\n`;
}

const columns = [
  'requests/s',
  'tokens/s/worker',
  'tokens/s/user',
  'TTFT p50',
  'TTFT p99',
  'ITL p50',
  'ITL p99',
  'hit rate',
  'good requests/s',
];

/** What a narrow terminal does without. */
const expendable = ['TTFT p50', 'ITL p50'];

/** Without the columns in which no row has a figure. */
function measured(rows: readonly (readonly string[])[]): string[][] {
  const [head = [], ...body] = rows;
  const kept = head.map((_, at) => body.some((cells) => cells[at] !== '–'));
  return rows.map((cells) => cells.filter((_, at) => kept[at] === true));
}

function row({ value, report }: SweepReport['points'][number]): string[] {
  return [
    String(value),
    decimal(report.throughput.requestsPerSecond),
    decimal(report.throughput.outputTokensPerSecondPerWorker),
    decimal(report.outputTokensPerSecondPerUser.avg),
    decimal(report.timeToFirstTokenMs.p50),
    decimal(report.timeToFirstTokenMs.p99),
    decimal(report.interTokenLatencyMs.p50),
    decimal(report.interTokenLatencyMs.p99),
    percent(report.cache.tokenHitRate),
    decimal(report.goodput?.requestsPerSecond ?? null),
  ];
}

/** Tokens a second of each worker against those of each user, for each value; a line for each sweep. */
export function sweepFigure(sweeps: readonly NamedSweep[]): Figure {
  const series = sweeps.map(({ name, sweep }) => ({ name, points: sweep.points.flatMap(paretoPoint) }));
  const runs = sweeps.flatMap(({ sweep }) => sweep.points[0]?.report.run ?? []);
  const traces = [...new Set(runs.map(({ trace }) => trace))].join(', ');
  const routers = [...new Set(runs.map(({ routerMode }) => `router ${routerMode}`))].join(', ');
  return paretoFigure(series, sweeps[0]?.sweep.over ?? '', `${traces} · ${routers}`);
}

/** None where nothing was completed. */
function paretoPoint({ value, report }: SweepReport['points'][number]): ParetoPoint[] {
  const perUser = report.outputTokensPerSecondPerUser.avg;
  const perWorker = report.throughput.outputTokensPerSecondPerWorker;
  if (perUser === null || perWorker === null) return [];
  return [{ outputTokensPerSecondPerUser: perUser, outputTokensPerSecondPerWorker: perWorker, label: String(value) }];
}
