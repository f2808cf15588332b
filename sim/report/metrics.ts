import type { RequestRecord } from '../replay/request-record.ts';

/** Figures of one request that the report has distributions of. NaN: the request has none. */
export const requestMetrics = {
  timeToFirstTokenMs: ({ firstTokenMs, arrivalMs }) => firstTokenMs - arrivalMs,
  interTokenLatencyMs: ({ lastTokenMs, firstTokenMs, outputTokens }) =>
    outputTokens > 1 ? (lastTokenMs - firstTokenMs) / (outputTokens - 1) : Number.NaN,
  requestLatencyMs: ({ lastTokenMs, arrivalMs }) => lastTokenMs - arrivalMs,
  longestGapMs: ({ longestGapMs, outputTokens }) => (outputTokens > 1 ? longestGapMs : Number.NaN),
  outputTokensPerSecondPerUser: ({ lastTokenMs, firstTokenMs, outputTokens }) =>
    outputTokens > 1 && lastTokenMs > firstTokenMs
      ? ((outputTokens - 1) * 1000) / (lastTokenMs - firstTokenMs)
      : Number.NaN,
  routerWaitMs: ({ routedMs, arrivalMs }) => routedMs - arrivalMs,
  engineWaitMs: ({ startedMs, routedMs }) => startedMs - routedMs,
  promptTokens: ({ promptTokens }) => promptTokens,
  outputTokens: ({ outputTokens }) => outputTokens,
} as const satisfies Record<string, (record: RequestRecord) => number>;

export type RequestMetric = keyof typeof requestMetrics;

export const requestMetricNames = Object.keys(requestMetrics) as readonly RequestMetric[];

/** Bounds that a good request keeps; undefined: none. */
export interface ServiceLevels {
  readonly ttftMs?: number | undefined;
  readonly itlMs?: number | undefined;
  readonly e2eMs?: number | undefined;
}

export function hasLevels({ ttftMs, itlMs, e2eMs }: ServiceLevels): boolean {
  return ttftMs !== undefined || itlMs !== undefined || e2eMs !== undefined;
}

/** Whether a completed request kept all bounds. One of a single token has no time between tokens to be late. */
export function keepsLevels(record: RequestRecord, { ttftMs, itlMs, e2eMs }: ServiceLevels): boolean {
  return (
    !(requestMetrics.timeToFirstTokenMs(record) > (ttftMs ?? Infinity)) &&
    !(requestMetrics.interTokenLatencyMs(record) > (itlMs ?? Infinity)) &&
    !(requestMetrics.requestLatencyMs(record) > (e2eMs ?? Infinity))
  );
}

/** Exact count, sum and extremes of a figure, however many requests there are. */
export class Extent {
  count = 0;
  sum = 0;
  min = Number.NaN;
  max = Number.NaN;

  add(value: number): void {
    if (Number.isNaN(value)) return;
    this.count++;
    this.sum += value;
    if (!(this.min <= value)) this.min = value;
    if (!(this.max >= value)) this.max = value;
  }
}
