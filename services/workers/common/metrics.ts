import { type Counter, Gauge, type Histogram, type Registry } from 'prom-client';
import type { RankLoad } from '#gen/stator/events/v1/events_pb.ts';
import { counterOf, histogramOf } from '#lib/telemetry/metrics.ts';

const longSeconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const stepSeconds = [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1];

/** What one model's engine counts. */
export interface HostMetrics {
  readonly requests: (outcome: string) => void;
  readonly outputTokens: Counter.Internal;
  readonly promptTokens: Counter.Internal;
  readonly cachedTokens: Counter.Internal;
  readonly queueSeconds: Histogram.Internal<string>;
  readonly firstTokenSeconds: Histogram.Internal<string>;
  readonly stepSeconds: Histogram.Internal<string>;
  readonly kvEvents: Counter.Internal;
  readonly subscribersCut: Counter.Internal;
  readonly passesDropped: Counter.Internal;
  readonly canary: (outcome: 'ok' | 'failed') => void;
}

/** Counters of a model, and gauges that ask `state` whenever they are read. */
export function hostMetrics(registry: Registry, model: string, state: LoadState): HostMetrics {
  const name = (rest: string): string => `stator_worker_${rest}`;
  const byModel = (rest: string, help: string): Counter.Internal =>
    counterOf(registry, name(rest), help, ['model']).labels(model);
  const histogram = (rest: string, help: string, buckets: number[]): Histogram.Internal<string> =>
    histogramOf(registry, name(rest), help, buckets, ['model']).labels(model);
  const requests = counterOf(registry, name('requests_total'), 'Sequences that ended, by outcome or error code.', [
    'model',
    'outcome',
  ]);
  const tokens = counterOf(registry, name('tokens_total'), 'Tokens: prompt, cached (found, not computed) and output.', [
    'model',
    'kind',
  ]);
  const canary = counterOf(registry, name('canary_total'), 'Self-tests, by outcome.', ['model', 'outcome']);
  followLoad(registry, model, state);
  return {
    requests: (outcome) => requests.inc({ model, outcome }),
    outputTokens: tokens.labels(model, 'output'),
    promptTokens: tokens.labels(model, 'prompt'),
    cachedTokens: tokens.labels(model, 'cached'),
    queueSeconds: histogram('queue_seconds', 'Seconds a sequence waited in the engine.', longSeconds),
    firstTokenSeconds: histogram(
      'time_to_first_token_seconds',
      'Seconds from submission to the first token.',
      longSeconds,
    ),
    stepSeconds: histogram('step_seconds', 'Seconds of an engine step.', stepSeconds),
    kvEvents: byModel('kv_events_total', 'Changes of the KV cache that were published.'),
    subscribersCut: byModel('kv_subscribers_cut_total', 'Subscribers of KV events that were too slow.'),
    passesDropped: byModel('forward_passes_dropped_total', 'Forward passes that slow subscribers missed.'),
    canary: (outcome) => canary.inc({ model, outcome }),
  };
}

interface LoadState {
  readonly running: () => number;
  readonly load: () => readonly RankLoad[];
}

const statesByRegistry = new WeakMap<Registry, Map<string, LoadState>>();

/** Gauges are computed when they are read, from every model of the process. */
function followLoad(registry: Registry, model: string, state: LoadState): void {
  const known = statesByRegistry.get(registry);
  if (known !== undefined) {
    known.set(model, state);
    return;
  }
  const states = new Map([[model, state]]);
  statesByRegistry.set(registry, states);
  const gauge = <L extends string>(
    name: string,
    help: string,
    labelNames: L[],
    read: (gauge: Gauge<L>) => void,
  ): void => {
    const registers = [registry];
    new Gauge({
      name: `stator_worker_${name}`,
      help,
      labelNames,
      registers,
      collect: function collect() {
        read(this);
      },
    });
  };
  gauge('running_sequences', 'Sequences taken and not ended, queued ones included.', ['model'], (running) => {
    for (const [name, { running: count }] of states) running.set({ model: name }, count());
  });
  gauge('queued_sequences', 'Sequences that wait in the engine.', ['model'], (queued) => {
    for (const [name, { load }] of states)
      queued.set(
        { model: name },
        sum(load(), (rank) => rank.queuedSequences),
      );
  });
  gauge('kv_blocks', 'KV blocks, by state.', ['model', 'state'], (blocks) => {
    for (const [name, { load }] of states) {
      const ranks = load();
      const active = sum(ranks, (rank) => rank.activeKvBlocks);
      const cached = sum(ranks, (rank) => rank.cachedKvBlocks);
      const free = Math.max(0, sum(ranks, (rank) => rank.totalKvBlocks) - active - cached);
      for (const [value, count] of Object.entries({ active, cached, free }))
        blocks.set({ model: name, state: value }, count);
    }
  });
}

function sum(ranks: readonly RankLoad[], pick: (rank: RankLoad) => bigint | number): number {
  return ranks.reduce((total, rank) => total + Number(pick(rank)), 0);
}
