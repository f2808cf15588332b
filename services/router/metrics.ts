import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

export type RouterMetrics = ReturnType<typeof routerMetrics>;

/** What the router counts as it happens; levels are in gauges.ts. */
export function routerMetrics(registry: Registry) {
  const registers = [registry];
  return {
    requests: new Counter({
      name: 'stator_router_requests_total',
      help: 'Requests to place, by mode and outcome (placed or the code of the refusal).',
      labelNames: ['mode', 'outcome'],
      registers,
    }),
    decisionSeconds: new Histogram({
      name: 'stator_router_decision_seconds',
      help: 'Time that a decision took.',
      buckets: [1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 5e-3, 2e-2],
      registers,
    }),
    kvHitRate: new Histogram({
      name: 'stator_router_kv_hit_rate',
      help: "Fraction of a prompt's full blocks that its worker had on its device.",
      buckets: [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1],
      registers,
    }),
    reusedTokens: new Counter({
      name: 'stator_router_reused_tokens_total',
      help: 'Prompt tokens that workers were expected to have, slower tiers counted in part.',
      registers,
    }),
    nonMaxOverlap: new Counter({
      name: 'stator_router_non_max_overlap_selections_total',
      help: 'Requests that went to a worker although another had more of their blocks.',
      registers,
    }),
    overlapBlocksLost: new Counter({
      name: 'stator_router_overlap_blocks_lost_total',
      help: 'Cached blocks that were forgone by that.',
      registers,
    }),
    queueSeconds: new Histogram({
      name: 'stator_router_queue_seconds',
      help: 'Time that requests waited which were then placed, by policy class.',
      labelNames: ['class'],
      buckets: [0.001, 0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30, 60],
      registers,
    }),
    expired: new Counter({
      name: 'stator_router_reservations_expired_total',
      help: 'Reservations made without a session that ended by their time to live.',
      registers,
    }),
    freed: new Counter({
      name: 'stator_router_reservations_freed_total',
      help: 'Reservations that ended with their gateway or their worker.',
      labelNames: ['because'],
      registers,
    }),
    unknown: new Counter({
      name: 'stator_router_unknown_requests_total',
      help: 'Messages about requests that hold no reservation, by kind.',
      labelNames: ['message'],
      registers,
    }),
    sessions: new Gauge({ name: 'stator_router_sessions', help: 'Open sessions of gateways.', registers }),
    workers: new Gauge({
      name: 'stator_router_workers',
      help: 'Workers known, by whether discovery has them or lost them.',
      labelNames: ['discovery'],
      registers,
    }),
    inhibitions: new Counter({
      name: 'stator_router_inhibitions_total',
      help: 'Times a worker was avoided because it failed a request.',
      registers,
    }),
    rejectedCards: new Counter({
      name: 'stator_router_rejected_cards_total',
      help: 'Model cards left out because they differ from the one in use.',
      registers,
    }),
  };
}
