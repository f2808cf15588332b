import { Gauge, type Registry } from 'prom-client';
import { counterOf, histogramOf } from '#lib/telemetry/metrics.ts';

const fetchSeconds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** What admission with KV from elsewhere counts. */
export interface KvAdmissionMetrics {
  fetched(source: string, outcome: FetchOutcome, ms: number): void;
  /** A sequence was computed without asking. */
  skipped(reason: 'full'): void;
}

export type FetchOutcome = 'ok' | 'nothing' | 'late' | 'failed' | 'cancelled';

export interface KvAdmissionState {
  readonly fetching: () => number;
  readonly holding: () => number;
}

/** Counters of a model; gauges ask `state` whenever they are read. */
export function kvAdmissionMetrics(registry: Registry, model: string, state: KvAdmissionState): KvAdmissionMetrics {
  const fetches = counterOf(
    registry,
    'stator_worker_kv_fetches_total',
    'Sequences for which a source was asked for KV, by outcome.',
    ['model', 'source', 'outcome'],
  );
  const seconds = histogramOf(
    registry,
    'stator_worker_kv_fetch_seconds',
    'Seconds that a source took to make KV cached, or to say that it has none.',
    fetchSeconds,
    ['model', 'source'],
  );
  const skipped = counterOf(
    registry,
    'stator_worker_kv_fetches_skipped_total',
    'Sequences that were computed without asking for KV, by reason.',
    ['model', 'reason'],
  );
  follow(registry, 'stator_worker_kv_fetching', 'Sequences that wait for KV.', model, state.fetching);
  follow(registry, 'stator_worker_kv_holding', 'Sequences for which fetched KV is kept.', model, state.holding);
  return {
    fetched(source, outcome, ms) {
      fetches.inc({ model, source, outcome });
      seconds.observe({ model, source }, ms / 1000);
    },
    skipped: (reason) => skipped.inc({ model, reason }),
  };
}

const followed = new WeakMap<Gauge<'model'>, Map<string, () => number>>();

/** A gauge that is computed when it is read, for every model of the process. */
export function follow(registry: Registry, name: string, help: string, model: string, read: () => number): void {
  const known = registry.getSingleMetric(name);
  const models = known instanceof Gauge ? followed.get(known as Gauge<'model'>) : undefined;
  if (models !== undefined) {
    models.set(model, read);
    return;
  }
  const reads = new Map([[model, read]]);
  const gauge = new Gauge({
    name,
    help,
    labelNames: ['model'],
    registers: [registry],
    collect() {
      for (const [label, value] of reads) this.set({ model: label }, value());
    },
  });
  followed.set(gauge, reads);
}
