/** What is told of a distribution. Numbers are NaN where there are no values. */
export interface Distribution {
  readonly count: number;
  readonly avg: number;
  readonly min: number;
  readonly max: number;
  readonly p50: number;
  readonly p75: number;
  readonly p90: number;
  readonly p95: number;
  readonly p99: number;
}

/** The names in the order in which they are shown. */
export const distributionFields = ['avg', 'min', 'max', 'p50', 'p75', 'p90', 'p95', 'p99'] as const;

/**
 * Between the two nearest ranks, linearly: the default of NumPy and so what aiperf reports (Hyndman and Fan's type 7).
 * `sorted` ascends; `share` from 0 to 1. NaN of nothing.
 */
export function quantile(sorted: Float64Array, share: number): number {
  const place = (sorted.length - 1) * share;
  const below = sorted[Math.floor(place)];
  const above = sorted[Math.ceil(place)];
  if (below === undefined || above === undefined) return Number.NaN;
  return below + (above - below) * (place - Math.floor(place));
}

/** Of the values that are numbers. */
export function distributionOf(values: Float64Array): Distribution {
  const sorted = values.filter((value) => !Number.isNaN(value)).sort();
  let sum = 0;
  for (const value of sorted) sum += value;
  return {
    count: sorted.length,
    avg: sorted.length === 0 ? Number.NaN : sum / sorted.length,
    min: sorted[0] ?? Number.NaN,
    max: sorted.at(-1) ?? Number.NaN,
    p50: quantile(sorted, 0.5),
    p75: quantile(sorted, 0.75),
    p90: quantile(sorted, 0.9),
    p95: quantile(sorted, 0.95),
    p99: quantile(sorted, 0.99),
  };
}

/** How uneven a load is: 1 and 0 where it is the same everywhere. */
export interface Imbalance {
  readonly maxOverMean: number;
  /** Standard deviation over mean. */
  readonly variation: number;
}

/** NaN where there is nothing or no load. */
export function imbalanceOf(loads: readonly number[]): Imbalance {
  const mean = loads.reduce((sum, load) => sum + load, 0) / loads.length;
  if (!(mean > 0)) return { maxOverMean: Number.NaN, variation: Number.NaN };
  const variance = loads.reduce((sum, load) => sum + (load - mean) ** 2, 0) / loads.length;
  return { maxOverMean: Math.max(...loads) / mean, variation: Math.sqrt(variance) / mean };
}
