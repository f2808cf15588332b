import type { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { counterOf, gaugeOf, histogramOf } from '#lib/telemetry/metrics.ts';

export interface FetchMetrics {
  readonly fetches: Counter<'outcome'>;
  readonly bytes: Counter;
  readonly seconds: Histogram;
  readonly running: Gauge;
  readonly waiting: Gauge;
}

/** The metrics of everything that is fetched for callers. */
export function fetchMetrics(registry: Registry): FetchMetrics {
  return {
    fetches: counterOf(registry, 'stator_fetch_total', 'URLs of callers, by outcome: ok, or why there was nothing.', [
      'outcome',
    ]),
    bytes: counterOf(registry, 'stator_fetch_bytes_total', 'Bytes that were fetched, inflated.'),
    seconds: histogramOf(
      registry,
      'stator_fetch_seconds',
      'Time of one fetch, redirects included, waiting for its turn excluded.',
      [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
    ),
    running: gaugeOf(registry, 'stator_fetch_running', 'Fetches that run.'),
    waiting: gaugeOf(registry, 'stator_fetch_waiting', 'Fetches that wait for their turn.'),
  };
}
