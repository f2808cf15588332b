import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

/** The counter of that name, made at first use: several servers and clients of one process share a registry. */
export function counterOf<L extends string = never>(
  registry: Registry,
  name: string,
  help: string,
  labelNames: L[] = [],
): Counter<L> {
  const known = registry.getSingleMetric(name);
  return known instanceof Counter ? known : new Counter({ name, help, labelNames, registers: [registry] });
}

export function gaugeOf<L extends string = never>(
  registry: Registry,
  name: string,
  help: string,
  labelNames: L[] = [],
): Gauge<L> {
  const known = registry.getSingleMetric(name);
  return known instanceof Gauge ? known : new Gauge({ name, help, labelNames, registers: [registry] });
}

export function histogramOf<L extends string = never>(
  registry: Registry,
  name: string,
  help: string,
  buckets: number[],
  labelNames: L[] = [],
): Histogram<L> {
  const known = registry.getSingleMetric(name);
  return known instanceof Histogram ? known : new Histogram({ name, help, buckets, labelNames, registers: [registry] });
}
