import type { Registry } from 'prom-client';

/** Boundaries that grow by one factor from `min` to `max`. */
export function logBuckets(min: number, max: number, count: number): number[] {
  const factor = (max / min) ** (1 / (count - 1));
  return Array.from({ length: count }, (_, index) => Number((min * factor ** index).toPrecision(3)));
}

interface Series {
  readonly counts: Float64Array;
  sum: number;
  count: number;
}

/**
 * A histogram with one label for the hot path: an observation is a search in a few numbers and three additions, without
 * the label hashing of prom-client, to whose registry it answers as a metric of its own.
 */
export class FastHistogram {
  readonly #label: string;
  readonly #buckets: readonly number[];
  readonly #series = new Map<string, Series>();

  constructor(o: { registry: Registry; name: string; help: string; label: string; buckets: readonly number[] }) {
    this.#label = o.label;
    this.#buckets = o.buckets;
    const metric = {
      name: o.name,
      help: o.help,
      type: 'histogram',
      aggregator: 'sum',
      labelNames: [o.label],
      reset: () => this.#series.clear(),
      get: async () => ({
        name: o.name,
        help: o.help,
        type: 'histogram',
        aggregator: 'sum',
        values: this.#values(o.name),
      }),
    };
    // prom-client asks of a metric only what `get` gives; its types want its own classes.
    o.registry.registerMetric(metric as unknown as Parameters<Registry['registerMetric']>[0]);
  }

  /** A way to observe one label value without looking it up again. */
  series(labelValue: string): { observe(value: number, times: number): void } {
    const series = this.#get(labelValue);
    return {
      observe: (value, times) => {
        series.sum += value * times;
        series.count += times;
        let low = 0;
        let high = this.#buckets.length;
        while (low < high) {
          const middle = (low + high) >> 1;
          if (value <= (this.#buckets[middle] ?? 0)) high = middle;
          else low = middle + 1;
        }
        series.counts[low] = (series.counts[low] ?? 0) + times;
      },
    };
  }

  #get(labelValue: string): Series {
    let series = this.#series.get(labelValue);
    if (series === undefined) {
      series = { counts: new Float64Array(this.#buckets.length + 1), sum: 0, count: 0 };
      this.#series.set(labelValue, series);
    }
    return series;
  }

  #values(name: string): { value: number; labels: Record<string, string | number>; metricName: string }[] {
    return [...this.#series].flatMap(([labelValue, series]) => {
      const labels = { [this.#label]: labelValue };
      let below = 0;
      const buckets = this.#buckets.map((le, index) => {
        below += series.counts[index] ?? 0;
        return { value: below, labels: { ...labels, le }, metricName: `${name}_bucket` };
      });
      return [
        ...buckets,
        { value: series.count, labels: { ...labels, le: '+Inf' }, metricName: `${name}_bucket` },
        { value: series.sum, labels, metricName: `${name}_sum` },
        { value: series.count, labels, metricName: `${name}_count` },
      ];
    });
  }
}
