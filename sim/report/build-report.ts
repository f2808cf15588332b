import { type RecordField, recordFields } from '../replay/request-columns.ts';
import type { ReplayRun, RequestRecord } from '../replay/request-record.ts';
import { buildTimeline } from './build-timeline.ts';
import { hasLevels, type RequestMetric, requestMetrics } from './metrics.ts';
import { distributionOf, imbalanceOf } from './quantiles.ts';
import { emptyWorkerTotals, type ReplayRecorder } from './recorder.ts';
import { type ReplayReport, type ReportDistribution, type ReportImbalance, reportSchemaName } from './report.ts';
import { numberOrNull } from './rounding.ts';
import { type KeptSample, loadOf } from './sample-columns.ts';

export interface BuildOptions {
  readonly settings?: ReplayReport['run']['settings'];
  /** Whether the replay was interrupted. */
  readonly partial?: boolean;
}

/** The report of what a recorder has heard. Equal recordings give equal reports. */
export function buildReport(
  recorder: ReplayRecorder,
  { settings = {}, partial = false }: BuildOptions = {},
): ReplayReport {
  const { run, totals, endMs } = recorder;
  const durationMs = recorder.records.added === 0 ? Number.NaN : endMs - totals.firstArrivalMs;
  const records = recordsOf(recorder);
  const completed = records.filter(({ outcome }) => outcome === 0);
  const distribution = (name: RequestMetric): ReportDistribution => distributionFor(recorder, completed, name);
  const workers = workersOf(recorder);
  return {
    schema: reportSchemaName,
    run: { ...runFacts(run), settings: sorted(settings), partial },
    durationMs: numberOrNull(durationMs),
    requests: { sent: recorder.records.added, ...totals.outcomes, sampled: records.length },
    errors: [...recorder.errors]
      .map(([code, count]) => ({ code, count }))
      .sort((a, b) => b.count - a.count || (a.code < b.code ? -1 : 1)),
    throughput: throughputOf(recorder, durationMs),
    timeToFirstTokenMs: distribution('timeToFirstTokenMs'),
    interTokenLatencyMs: distribution('interTokenLatencyMs'),
    requestLatencyMs: distribution('requestLatencyMs'),
    longestGapMs: distribution('longestGapMs'),
    outputTokensPerSecondPerUser: distribution('outputTokensPerSecondPerUser'),
    routerWaitMs: distribution('routerWaitMs'),
    engineWaitMs: distribution('engineWaitMs'),
    promptTokens: distribution('promptTokens'),
    outputTokens: distribution('outputTokens'),
    cache: cacheOf(recorder),
    goodput: goodputOf(recorder, durationMs),
    preemptions: totals.preemptions,
    balance: balanceOf(recorder, workers),
    workers,
    timeline: buildTimeline(recorder, records),
  };
}

function runFacts({
  trace,
  time,
  seed,
  routerMode,
}: ReplayRun): Pick<ReplayRun, 'trace' | 'time' | 'seed' | 'routerMode'> {
  return { trace, time, seed, routerMode };
}

/** By the order of sending, whatever order a sample has them in. */
function recordsOf({ records }: ReplayRecorder): RequestRecord[] {
  const columns = Object.fromEntries(recordFields.map((field) => [field, records.column(field)]));
  const at = (field: RecordField, row: number): number => columns[field]?.[row] ?? Number.NaN;
  const rows: RequestRecord[] = [];
  // Written out, because hundreds of thousands of records made from lists of fields take seconds.
  for (let row = 0; row < records.rows; row++) {
    rows.push({
      index: at('index', row),
      arrivalMs: at('arrivalMs', row),
      routedMs: at('routedMs', row),
      startedMs: at('startedMs', row),
      firstTokenMs: at('firstTokenMs', row),
      lastTokenMs: at('lastTokenMs', row),
      longestGapMs: at('longestGapMs', row),
      promptTokens: at('promptTokens', row),
      cachedTokens: at('cachedTokens', row),
      outputTokens: at('outputTokens', row),
      worker: at('worker', row),
      prefillWorker: at('prefillWorker', row),
      preemptions: at('preemptions', row),
      outcome: at('outcome', row),
    });
  }
  return rows.sort((a, b) => a.index - b.index);
}

/** Percentiles of the kept requests; count, mean and extremes of all. */
function distributionFor(
  { totals }: ReplayRecorder,
  completed: readonly RequestRecord[],
  name: RequestMetric,
): ReportDistribution {
  const { p99, p95, p90, p75, p50 } = distributionOf(Float64Array.from(completed, requestMetrics[name]));
  const { count, sum, min, max } = totals.metrics[name];
  return {
    count,
    avg: numberOrNull(sum / count),
    min: numberOrNull(min),
    max: numberOrNull(max),
    p50: numberOrNull(p50),
    p75: numberOrNull(p75),
    p90: numberOrNull(p90),
    p95: numberOrNull(p95),
    p99: numberOrNull(p99),
  };
}

function throughputOf({ totals, run, samples }: ReplayRecorder, durationMs: number): ReplayReport['throughput'] {
  const seconds = durationMs / 1000;
  const decoders = run.workers.filter(({ role }) => role !== 'prefill').length;
  return {
    requestsPerSecond: numberOrNull(totals.outcomes.completed / seconds),
    inputTokensPerSecond: numberOrNull(totals.promptTokens / seconds),
    outputTokensPerSecond: numberOrNull(totals.outputTokens / seconds),
    outputTokensPerSecondPerWorker: numberOrNull(totals.outputTokens / seconds / decoders),
    meanInFlight: numberOrNull(meanOf(samples.kept.map(({ inFlight }) => inFlight))),
  };
}

function cacheOf({ totals }: ReplayRecorder): ReplayReport['cache'] {
  const { promptTokens, cachedTokens, promptBlocks, cachedBlocks } = totals;
  return {
    promptTokens,
    cachedTokens,
    tokenHitRate: numberOrNull(cachedTokens / promptTokens),
    promptBlocks: numberOrNull(promptBlocks),
    cachedBlocks: numberOrNull(cachedBlocks),
    blockHitRate: numberOrNull(cachedBlocks / promptBlocks),
  };
}

function goodputOf({ totals, levels, records }: ReplayRecorder, durationMs: number): ReplayReport['goodput'] {
  if (!hasLevels(levels)) return null;
  const { goodRequests, goodOutputTokens } = totals;
  return {
    timeToFirstTokenMs: levels.ttftMs ?? null,
    interTokenLatencyMs: levels.itlMs ?? null,
    requestLatencyMs: levels.e2eMs ?? null,
    requests: goodRequests,
    share: numberOrNull(goodRequests / records.added),
    requestsPerSecond: numberOrNull((goodRequests * 1000) / durationMs),
    outputTokensPerSecond: numberOrNull((goodOutputTokens * 1000) / durationMs),
  };
}

function workersOf({ run, totals, samples }: ReplayRecorder): ReplayReport['workers'] {
  const over = (valueAt: (sample: KeptSample) => number | undefined): number | null =>
    numberOrNull(meanOf(samples.kept.map((sample) => valueAt(sample) ?? 0)));
  return run.workers.map(({ name, role, ranks, totalBlocks, blockSize }, at) => ({
    name,
    role,
    ranks,
    totalBlocks: numberOrNull(totalBlocks),
    blockSize: numberOrNull(blockSize),
    ...(totals.workers[at] ?? emptyWorkerTotals()),
    running: over(({ running }) => running[at]),
    waiting: over(({ waiting }) => waiting[at]),
    usedBlocks: over(({ usedBlocks }) => (usedBlocks[at] ?? 0) / totalBlocks),
  }));
}

function balanceOf({ samples }: ReplayRecorder, workers: ReplayReport['workers']): ReplayReport['balance'] {
  const roles = [...new Set(workers.map(({ role }) => role))];
  return roles.map((role) => {
    const places = workers.flatMap((worker, at) => (worker.role === role ? [at] : []));
    const members = places.flatMap((at) => workers[at] ?? []);
    const loads = samples.kept.map((sample) => places.map((at) => loadOf(sample, at)));
    return {
      role,
      workers: members.length,
      requests: rounded(imbalanceOf(members.map(({ requests }) => requests))),
      prefillTokens: rounded(imbalanceOf(members.map(({ promptTokens, cachedTokens }) => promptTokens - cachedTokens))),
      outputTokens: rounded(imbalanceOf(members.map(({ outputTokens }) => outputTokens))),
      inFlight: rounded(imbalanceOf(members.map(({ running, waiting }) => (running ?? 0) + (waiting ?? 0)))),
      momentary: rounded(meanImbalance(loads)),
    };
  });
}

/** Over the moments at which there was any load. */
function meanImbalance(loads: readonly (readonly number[])[]): ReportImbalance {
  const moments = loads.map(imbalanceOf).filter(({ maxOverMean }) => !Number.isNaN(maxOverMean));
  return {
    maxOverMean: meanOf(moments.map(({ maxOverMean }) => maxOverMean)),
    variation: meanOf(moments.map(({ variation }) => variation)),
  };
}

function rounded({ maxOverMean, variation }: ReportImbalance): ReportImbalance {
  return { maxOverMean: numberOrNull(maxOverMean ?? Number.NaN), variation: numberOrNull(variation ?? Number.NaN) };
}

function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function sorted<T>(values: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(Object.entries(values).sort(([a], [b]) => (a < b ? -1 : 1)));
}
