import { StatorError } from '#lib/errors/errors.ts';
import type { ReplayReport } from './report.ts';
import { numberOrNull } from './rounding.ts';
import { decimal, frame, integer } from './table.ts';

/** A report and what people call it. */
export interface NamedReport {
  readonly name: string;
  readonly report: ReplayReport;
}

/** One figure of every report. Ratios are to the first report. */
export interface ComparedFigure {
  readonly figure: string;
  /** Whether more of it is better, or less. */
  readonly better: 'more' | 'less';
  readonly values: readonly (number | null)[];
  /** null: one of the two was not measured, or the first is 0. */
  readonly ratios: readonly (number | null)[];
}

/** Characters of a report's name over its column. */
const longestName = 28;

type Figure = readonly [string, ComparedFigure['better'], (report: ReplayReport) => number | null];

const latencies = [
  ['Time to first token', 'timeToFirstTokenMs'],
  ['Inter-token latency', 'interTokenLatencyMs'],
  ['Request latency', 'requestLatencyMs'],
  ["Wait in the router's queue", 'routerWaitMs'],
  ["Wait in the engine's queue", 'engineWaitMs'],
] as const satisfies readonly (readonly [string, keyof ReplayReport])[];

const figures: readonly Figure[] = [
  ['Requests completed', 'more', ({ requests }) => requests.completed],
  ['Requests rejected or failed', 'less', ({ requests }) => requests.rejected + requests.failed],
  ['Requests/s', 'more', ({ throughput }) => throughput.requestsPerSecond],
  ['Output tokens/s', 'more', ({ throughput }) => throughput.outputTokensPerSecond],
  ['Output tokens/s per worker', 'more', ({ throughput }) => throughput.outputTokensPerSecondPerWorker],
  ['Output tokens/s per user', 'more', ({ outputTokensPerSecondPerUser }) => outputTokensPerSecondPerUser.avg],
  ...latencies.flatMap(([label, name]) =>
    (['avg', 'p50', 'p90', 'p99'] as const).map(
      (field): Figure => [`${label}, ${field} (ms)`, 'less', (report) => report[name][field]],
    ),
  ),
  ['Hit rate of tokens (%)', 'more', ({ cache }) => share(cache.tokenHitRate)],
  ['Hit rate of blocks (%)', 'more', ({ cache }) => share(cache.blockHitRate)],
  ['Goodput, requests/s', 'more', ({ goodput }) => goodput?.requestsPerSecond ?? null],
  ['Goodput, % of requests', 'more', ({ goodput }) => share(goodput?.share ?? null)],
  ['Imbalance in flight, max/mean', 'less', ({ balance }) => balance[0]?.momentary.maxOverMean ?? null],
  ['Imbalance in flight, variation', 'less', ({ balance }) => balance[0]?.momentary.variation ?? null],
  ['Preemptions', 'less', ({ preemptions }) => preemptions],
];

/** Figures that at least one report has, and that are not 0 everywhere. Throws `invalid_argument` for fewer than two reports. */
export function compareReports(reports: readonly NamedReport[]): ComparedFigure[] {
  if (reports.length < 2) throw StatorError.invalid('REPORT', 'Name two reports or more.');
  return figures
    .map(([figure, better, read]) => {
      const values = reports.map(({ report }) => read(report));
      const [base = null] = values;
      return { figure, better, values, ratios: values.map((value) => ratio(value, base)) };
    })
    .filter(({ values }) => values.some((value) => value !== null && value !== 0));
}

/** A table with a column for each report and, from the second on, its ratio to the first. */
export function renderComparison(reports: readonly NamedReport[], width = 120): string {
  const head = [
    '',
    ...reports.flatMap(({ name }, at) => (at === 0 ? [shortened(name)] : [shortened(name), 'ratio', ''])),
  ];
  const rows = compareReports(reports).map(({ figure, better, values, ratios }) => [
    figure,
    ...values.flatMap((value, at) =>
      at === 0 ? [shown(value)] : [shown(value), ratioText(ratios[at] ?? null), verdict(better, ratios[at] ?? null)],
    ),
  ]);
  return `${frame([head, ...rows], width)}\n`;
}

/** The end of a path tells more than its beginning. */
function shortened(name: string): string {
  return name.length <= longestName ? name : `…${name.slice(1 - longestName)}`;
}

/** Counts have no decimals. */
function shown(value: number | null): string {
  return value !== null && Number.isInteger(value) ? integer(value) : decimal(value);
}

function share(value: number | null): number | null {
  return value === null ? null : numberOrNull(value * 100);
}

function ratio(value: number | null, base: number | null): number | null {
  return value === null || base === null || base === 0 ? null : numberOrNull(value / base);
}

function ratioText(value: number | null): string {
  return value === null ? '–' : `×${value.toFixed(3)}`;
}

/** Differences below half a percent say nothing. */
function verdict(better: ComparedFigure['better'], value: number | null): string {
  if (value === null || Math.abs(value - 1) < 0.005) return '';
  return value > 1 === (better === 'more') ? 'better' : 'worse';
}
