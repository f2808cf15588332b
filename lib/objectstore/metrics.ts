import type { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { counterOf, gaugeOf, histogramOf } from '#lib/telemetry/metrics.ts';

export type Operation = 'put' | 'part' | 'begin' | 'complete' | 'abort' | 'get' | 'head' | 'delete' | 'list' | 'expiry';

export interface ObjectStoreMetrics {
  readonly requests: Counter<'backend' | 'op' | 'outcome'>;
  readonly bytes: Counter<'backend' | 'direction'>;
  readonly seconds: Histogram<'backend' | 'op'>;
  readonly retries: Counter<'backend' | 'op'>;
  readonly inFlight: Gauge<'backend'>;
  readonly queued: Gauge<'backend'>;
}

/** The object store metrics of a registry; several stores of one process share them. */
export function objectStoreMetrics(registry: Registry): ObjectStoreMetrics {
  const name = (rest: string) => `stator_objectstore_${rest}`;
  return {
    requests: counterOf(registry, name('requests_total'), 'Requests sent, by outcome: ok or the error code.', [
      'backend',
      'op',
      'outcome',
    ]),
    bytes: counterOf(registry, name('bytes_total'), 'Content moved, by direction: in (got) or out (put).', [
      'backend',
      'direction',
    ]),
    seconds: histogramOf(
      registry,
      name('request_seconds'),
      'Time of one request, waiting for its turn excluded.',
      [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
      ['backend', 'op'],
    ),
    retries: counterOf(registry, name('retries_total'), 'Requests sent again after a passing failure.', [
      'backend',
      'op',
    ]),
    inFlight: gaugeOf(registry, name('in_flight'), 'Requests that run.', ['backend']),
    queued: gaugeOf(registry, name('queued'), 'Requests that wait for their turn.', ['backend']),
  };
}
