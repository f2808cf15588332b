import { Gauge, type Registry } from 'prom-client';
import type { ApproximateIndex } from '#core/kv-index/approximate.ts';
import type { KvIndex } from '#core/kv-index/kv-index.ts';
import type { ActiveSequences } from '#core/sequences/active-sequences.ts';
import type { Admission } from './admission.ts';
import type { KvBlocks } from './kv-blocks.ts';
import { kvEventMetrics } from './kv-events/metrics.ts';
import type { Sessions } from './sessions.ts';
import type { Workers } from './workers.ts';

export interface MeasuredParts {
  readonly workers: Workers;
  readonly active: ActiveSequences;
  readonly admission: Admission;
  readonly sessions: Sessions;
  readonly blocks: Pick<KvBlocks, 'index' | 'approximate'>;
  readonly limits: {
    readonly maxReservations: number;
    readonly maxQueuedRequests: number;
    readonly maxSessions: number;
  };
  /** Monotonic milliseconds. */
  readonly nowMs: () => number;
}

/** Everything that has a level at any time is measured when it is asked for: nothing is counted twice, and no request pays for it. */
export function measureAtScrape(registry: Registry, parts: MeasuredParts): void {
  const { workers, active, admission, sessions, limits } = parts;
  const gauge = (name: string, help: string, read: () => number): void => {
    new Gauge({
      name: `stator_router_${name}`,
      help,
      registers: [registry],
      collect() {
        this.set(read());
      },
    });
  };
  gauge('reservations', 'Reservations in force.', () => active.size);
  gauge('reservation_limit', 'Most reservations at once.', () => limits.maxReservations);
  gauge('queue_limit', 'Most requests that may wait.', () => limits.maxQueuedRequests);
  gauge('session_bindings', 'Sessions that are bound to a worker.', () => sessions.stats.sessions);
  gauge('session_binding_limit', 'Most sessions that are.', () => limits.maxSessions);
  gauge('added_workers', 'Workers that calls made known.', () => workers.added);
  gauge('added_worker_limit', 'Most workers that calls may make known.', () => workers.addedLimit);
  measureRanks(registry, parts);
  measureQueue(registry, admission);
  measureIndex(registry, parts.blocks.index);
  const approximate = (): ApproximateIndex['stats'] => parts.blocks.approximate.stats;
  gauge(
    'kv_approximate_entries',
    'KV blocks of ranks that tell no events, as they are reckoned.',
    () => approximate().entries,
  );
  gauge('kv_approximate_bytes', 'Memory of that reckoning.', () => approximate().bytes);
}

function measureRanks(registry: Registry, { workers, active, nowMs }: MeasuredParts): void {
  const ofRank = (name: string, help: string, read: (slot: number) => number): void => {
    new Gauge({
      name: `stator_router_${name}`,
      help: `${help}, by worker and data parallel rank.`,
      labelNames: ['worker', 'data_parallel_rank'],
      registers: [registry],
      collect() {
        this.reset();
        for (const instance of workers.instances())
          for (const rank of workers.rankNumbersOf(instance)) {
            const slot = workers.slots.slotOf(instance.instanceId, rank);
            this.set({ worker: instance.instanceId.toString(16), data_parallel_rank: rank }, read(slot));
          }
      },
    });
  };
  ofRank('worker_registered', '1 for each that requests can be placed on', () => 1);
  ofRank('active_requests', 'Requests placed and not finished', (slot) => active.activeRequests(slot));
  ofRank('active_prefill_tokens', 'Prompt tokens placed and not computed', (slot) =>
    active.activePrefillTokens(slot, nowMs()),
  );
  ofRank('active_blocks', 'KV blocks that placed requests hold', (slot) => active.activeBlocks(slot));
}

function measureQueue(registry: Registry, admission: Admission): void {
  const ofClass = (name: string, help: string, of: 'requests' | 'promptTokens' | 'cachedTokens'): void => {
    new Gauge({
      name: `stator_router_${name}`,
      help: `${help}, by model and policy class.`,
      labelNames: ['model', 'class'],
      registers: [registry],
      collect() {
        this.reset();
        for (const { model, policyClass, [of]: value } of admission.report())
          this.set({ model, class: policyClass }, value);
      },
    });
  };
  ofClass('queued_requests', 'Requests that wait', 'requests');
  ofClass('queued_prompt_tokens', 'Prompt tokens of the requests that wait', 'promptTokens');
  ofClass('queued_cached_tokens', 'Those of them that the best worker has cached', 'cachedTokens');
}

/** The following of events looks at the index too, but only now and then. */
function measureIndex(registry: Registry, index: Pick<KvIndex, 'stats'>): void {
  const metrics = kvEventMetrics(registry);
  const atScrape = (gauge: Gauge, name: 'blocks' | 'entries' | 'bytes' | 'slots'): void => {
    Object.assign(gauge, { collect: () => gauge.set(index.stats[name]) });
  };
  atScrape(metrics.blocks, 'blocks');
  atScrape(metrics.entries, 'entries');
  atScrape(metrics.bytes, 'bytes');
  atScrape(metrics.slots, 'slots');
}
