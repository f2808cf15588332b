import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

export type RouterMetrics = ReturnType<typeof routerMetrics>;

const fractionBuckets = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1];
const tokenBuckets = [16, 64, 256, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072, 1_048_576];

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
    stageSeconds: new Histogram({
      name: 'stator_router_stage_seconds',
      help: 'Time of the parts of a decision: match (look the prompt up in the index), weigh (what every worker would cost), book (accounts).',
      labelNames: ['stage'],
      buckets: [1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 5e-3],
      registers,
    }),
    timeToFirstToken: new Histogram({
      name: 'stator_router_time_to_first_token_seconds',
      help: 'Time from the arrival of a request to the word that its prompt is computed, waiting included.',
      buckets: [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60],
      registers,
    }),
    interTokenLatency: new Histogram({
      name: 'stator_router_inter_token_latency_seconds',
      help: 'Mean time between output tokens of a sequence, as far as whole blocks of output were told of.',
      buckets: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1],
      registers,
    }),
    inputTokens: new Histogram({
      name: 'stator_router_input_tokens',
      help: 'Prompt tokens of the requests placed.',
      buckets: tokenBuckets,
      registers,
    }),
    outputTokens: new Histogram({
      name: 'stator_router_output_tokens',
      help: 'Output tokens of the requests that ended, down to whole blocks, as that is what the router is told of.',
      buckets: tokenBuckets,
      registers,
    }),
    kvHitRate: new Histogram({
      name: 'stator_router_kv_hit_rate',
      help: "Fraction of a prompt's full blocks that its worker had on its device.",
      buckets: fractionBuckets,
      registers,
    }),
    sharedHitRate: new Histogram({
      name: 'stator_router_shared_cache_hit_rate',
      help: "Fraction of a prompt's full blocks in the cache that all workers share, where there is one.",
      buckets: fractionBuckets,
      registers,
    }),
    sharedBeyondBlocks: new Histogram({
      name: 'stator_router_shared_cache_beyond_blocks',
      help: 'Blocks of a prompt that its worker had not itself but that cache had.',
      buckets: [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096],
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
    disaggregation: new Counter({
      name: 'stator_router_disaggregation_total',
      help: 'Prompts of models that are served apart, by who computes them (remote: a prefill worker, local: the decode worker), the policy that decided and why.',
      labelNames: ['policy', 'decision', 'because'],
      registers,
    }),
    queueSeconds: new Histogram({
      name: 'stator_router_queue_seconds',
      help: 'Time that requests waited which were then placed, by policy class.',
      labelNames: ['class'],
      buckets: [0.001, 0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30, 60],
      registers,
    }),
    queueRefusals: new Counter({
      name: 'stator_router_queue_refusals_total',
      help: 'Requests that the queue refused or gave up, by policy class and why: requests, all_requests, prompt_tokens, cached_tokens (a limit of what waits), timeout, deadline.',
      labelNames: ['class', 'because'],
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
