import { z } from 'zod';
import type { Figure } from './plots/figure.ts';
import { paretoFigure } from './plots/sweep-figure.ts';
import { type ReplayReport, replayReport } from './report.ts';
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

/** One row for each value. */
export function renderSweepTable({ over, points }: SweepReport, width = 100): string {
  const good = points.some(({ report }) => report.goodput !== null);
  const head = [
    over,
    'requests/s',
    'tokens/s/worker',
    'tokens/s/user',
    'TTFT p50',
    'TTFT p99',
    'ITL p50',
    'ITL p99',
    'hit rate',
  ];
  const rows = points.map(({ value, report }) => [
    String(value),
    decimal(report.throughput.requestsPerSecond),
    decimal(report.throughput.outputTokensPerSecondPerWorker),
    decimal(report.outputTokensPerSecondPerUser.avg),
    decimal(report.timeToFirstTokenMs.p50),
    decimal(report.timeToFirstTokenMs.p99),
    decimal(report.interTokenLatencyMs.p50),
    decimal(report.interTokenLatencyMs.p99),
    percent(report.cache.tokenHitRate),
    ...(good ? [decimal(report.goodput?.requestsPerSecond ?? null)] : []),
  ]);
  const run = points[0]?.report.run;
  const title =
    run === undefined ? '' : `Sweep of ${run.trace} over ${over} · router ${run.routerMode} · seed ${run.seed}\n\n`;
  return `${title}${frame([good ? [...head, 'good requests/s'] : head, ...rows], width)}\n`;
}

/** Tokens a second of each worker against those of each user, for each value. */
export function sweepFigure({ over, points }: SweepReport): Figure {
  const series = points.flatMap(({ value, report }) => {
    const perUser = report.outputTokensPerSecondPerUser.avg;
    const perWorker = report.throughput.outputTokensPerSecondPerWorker;
    if (perUser === null || perWorker === null) return [];
    return [{ outputTokensPerSecondPerUser: perUser, outputTokensPerSecondPerWorker: perWorker, label: String(value) }];
  });
  const first: ReplayReport | undefined = points[0]?.report;
  const subtitle = first === undefined ? '' : `${first.run.trace} · router ${first.run.routerMode}`;
  return paretoFigure([{ name: first?.run.routerMode ?? '', points: series }], over, subtitle);
}
