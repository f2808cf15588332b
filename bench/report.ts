/** One measured line. `anchor` is what the same run measured for whatever we compare with. */
export interface BenchRow {
  readonly line: string;
  readonly unit: string;
  readonly ours: number;
  readonly anchor: number | null;
  /** ours / anchor. */
  readonly ratio: number | null;
  /** Of a ratio that is a median over rounds: highest minus lowest, as a part of it. */
  readonly spread?: number;
  /** What ours must reach; null: shown for comparison only. */
  readonly target: number | null;
  readonly ok: boolean;
}

export interface BenchReport {
  readonly bench: string;
  readonly rows: readonly BenchRow[];
}

export interface BenchOptions {
  /** A short run that shows whether everything works; its figures are rough. */
  readonly quick: boolean;
}

export interface BenchModule {
  run(options: BenchOptions): Promise<BenchReport>;
}

/** What a benchmark needs is not there; the message says what to install. */
export class MissingTool extends Error {}

/** A row with ratio and verdict. Lower is better unless said otherwise. */
export function benchRow(o: {
  line: string;
  unit: string;
  ours: number;
  anchor?: number;
  target?: number;
  better?: 'lower' | 'higher';
}): BenchRow {
  const anchor = o.anchor ?? null;
  const target = o.target ?? null;
  const ok = target === null || (o.better === 'higher' ? o.ours >= target : o.ours <= target);
  return { line: o.line, unit: o.unit, ours: o.ours, anchor, ratio: anchor ? o.ours / anchor : null, target, ok };
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** The table for people, and below it the one line of JSON for programs. */
export function formatReport(report: BenchReport): string {
  const spreads = report.rows.some((row) => row.spread !== undefined);
  const head = ['line', 'unit', 'ours', 'anchor', 'ratio', ...(spreads ? ['spread'] : []), 'target', ''];
  const rows = report.rows.map((row) => [
    row.line,
    row.unit,
    figure(row.ours),
    figure(row.anchor),
    figure(row.ratio),
    ...(spreads ? [row.spread === undefined ? '-' : `${Math.round(row.spread * 100)} %`] : []),
    figure(row.target),
    row.target === null ? '' : row.ok ? 'ok' : 'MISSED',
  ]);
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => (row[i] ?? '').length)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => (i < 2 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
      .join('  ')
      .trimEnd();
  return [line(head), ...rows.map(line), '', JSON.stringify(report)].join('\n');
}

function figure(value: number | null): string {
  return value === null ? '-' : value.toPrecision(3).includes('e') ? value.toFixed(0) : value.toPrecision(3);
}
