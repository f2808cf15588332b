import type { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { counterOf, gaugeOf, histogramOf } from '#lib/telemetry/metrics.ts';

export type StoreOperation = 'get' | 'put' | 'delete' | 'list' | 'count' | 'sweep';

export interface StoreMetrics {
  readonly operations: Counter<'operation' | 'outcome'>;
  readonly seconds: Histogram<'operation'>;
  readonly bytes: Gauge;
  readonly expired: Counter;
}

/** The store's metrics of a registry. */
export function storeMetrics(registry: Registry): StoreMetrics {
  const outcomes = 'Operations of the store, by outcome: ok or the error code.';
  const buckets = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
  return {
    operations: counterOf(registry, 'stator_store_operations_total', outcomes, ['operation', 'outcome']),
    seconds: histogramOf(registry, 'stator_store_operation_seconds', 'Time of one operation.', buckets, ['operation']),
    bytes: gaugeOf(registry, 'stator_store_bytes', 'Bytes that documents take.'),
    expired: counterOf(
      registry,
      'stator_store_expired_total',
      'Documents and counters that were deleted after their time.',
    ),
  };
}
