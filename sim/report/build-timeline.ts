import type { RequestRecord } from '../replay/request-record.ts';
import { requestMetrics } from './metrics.ts';
import { quantile } from './quantiles.ts';
import type { ReplayRecorder } from './recorder.ts';
import type { PercentilesOverTime, ReportTimeline } from './report.ts';
import { numberOrNull } from './rounding.ts';
import { type KeptSample, loadOf } from './sample-columns.ts';

/** Most spans of a timeline. */
const maxSpans = 60;

/** The shortest of 1, 2, 5, 10, 20, … ms of which no more than `maxSpans` cover the time. */
export function spanFor(endMs: number): number {
  for (let power = 1; ; power *= 10) {
    for (const digit of [1, 2, 5]) if (digit * power * maxSpans >= endMs) return digit * power;
  }
}

/** What happened in each span of the replay. `completed`: the kept requests that completed. */
export function buildTimeline(recorder: ReplayRecorder, records: readonly RequestRecord[]): ReportTimeline {
  const endMs = Number.isFinite(recorder.endMs) ? Math.max(recorder.endMs, 1) : 1;
  const spanMs = spanFor(endMs);
  // A rest of less than half a span belongs to the span before it: rates of a moment say nothing.
  const spans = Math.max(1, Math.round(endMs / spanMs));
  const grid: Grid = { spanMs, spans, endMs };
  const byArrival = grouped(grid, records, ({ arrivalMs }) => arrivalMs);
  const completed = records.filter(({ outcome }) => outcome === 0);
  const completedByArrival = grouped(grid, completed, ({ arrivalMs }) => arrivalMs);
  const byEnd = grouped(grid, completed, ({ lastTokenMs }) => lastTokenMs);
  // Where requests are a sample, each stands for several.
  const weight = recorder.records.rows === 0 ? 1 : recorder.records.added / recorder.records.rows;
  return {
    spanMs,
    endMs: numberOrNull(endMs) ?? 0,
    arrived: perSecond(grid, byArrival, (all) => all.length * weight),
    completed: perSecond(grid, byEnd, (all) => all.length * weight),
    outputTokens: perSecond(grid, byEnd, (all) => total(all, 'outputTokens') * weight),
    timeToFirstTokenMs: percentiles(completedByArrival, requestMetrics.timeToFirstTokenMs),
    interTokenLatencyMs: percentiles(completedByArrival, requestMetrics.interTokenLatencyMs),
    requestLatencyMs: percentiles(completedByArrival, requestMetrics.requestLatencyMs),
    hitRate: completedByArrival.map((all) => numberOrNull(total(all, 'cachedTokens') / total(all, 'promptTokens'))),
    ...sampled(grid, recorder),
  };
}

interface Grid {
  readonly spanMs: number;
  readonly spans: number;
  readonly endMs: number;
}

type Group = readonly RequestRecord[];

function grouped({ spanMs, spans }: Grid, records: Group, timeOf: (record: RequestRecord) => number): Group[] {
  const groups: RequestRecord[][] = Array.from({ length: spans }, () => []);
  for (const record of records) groups[Math.min(spans - 1, Math.floor(timeOf(record) / spanMs))]?.push(record);
  return groups;
}

/** The last span ends with the replay. */
function perSecond(
  { spanMs, spans, endMs }: Grid,
  groups: readonly Group[],
  amount: (all: Group) => number,
): (number | null)[] {
  const lengthMs = (at: number): number => (at === spans - 1 ? endMs - at * spanMs : spanMs);
  return groups.map((all, at) => numberOrNull((amount(all) * 1000) / lengthMs(at)));
}

function total(all: Group, field: 'outputTokens' | 'promptTokens' | 'cachedTokens'): number {
  return all.reduce((sum, record) => sum + record[field], 0);
}

function percentiles(groups: readonly Group[], metric: (record: RequestRecord) => number): PercentilesOverTime {
  const sorted = groups.map((all) =>
    Float64Array.from(all, metric)
      .filter((value) => !Number.isNaN(value))
      .sort(),
  );
  const at = (share: number): (number | null)[] => sorted.map((values) => numberOrNull(quantile(values, share)));
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99) };
}

/** Means of the samples in each span; a span without any keeps the value before it. */
function sampled(
  grid: Grid,
  { samples, run }: ReplayRecorder,
): Pick<ReportTimeline, 'queued' | 'waiting' | 'inFlight' | 'workerLoad'> {
  const groups = Array.from({ length: grid.spans }, () => [] as KeptSample[]);
  for (const sample of samples.kept)
    groups[Math.min(grid.spans - 1, Math.floor(sample.atMs / grid.spanMs))]?.push(sample);
  const over = (valueAt: (sample: KeptSample) => number): (number | null)[] => {
    let last: number | null = null;
    return groups.map((all) => {
      if (all.length > 0) last = numberOrNull(all.reduce((sum, sample) => sum + valueAt(sample), 0) / all.length);
      return last;
    });
  };
  return {
    queued: over(({ queued }) => queued),
    waiting: over(({ waiting }) => waiting.reduce((sum, value) => sum + value, 0)),
    inFlight: over(({ inFlight }) => inFlight),
    workerLoad: run.workers.map((_, at) => over((sample) => loadOf(sample, at))),
  };
}
