import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import { WorkerRole } from '#gen/stator/model/v1/model_pb.ts';
import type { ErrorCode } from '#lib/errors/codes.ts';
import type { StatorError } from '#lib/errors/errors.ts';
import type { ModelCatalog } from '../models/catalog.ts';
import type { Generation } from '../pipeline/generation.ts';
import type { GenerationMetrics } from '../pipeline/parts.ts';
import type { Stage } from '../pipeline/stage.ts';
import { FastHistogram, logBuckets } from './fast-histogram.ts';

/** Label of model names that no worker serves: clients must not be able to create series. */
const unknownModel = 'unknown';

export type Endpoint =
  | 'chat_completions'
  | 'completions'
  | 'embeddings'
  | 'score'
  | 'rerank'
  | 'classify'
  | 'tokenize'
  | 'detokenize'
  | 'messages'
  | 'count_tokens'
  | 'responses'
  | 'response_tokens'
  | 'kserve'
  | 'realtime';
export type RequestType = 'stream' | 'unary';

/** Dynamo's classes of errors, from ours. */
const errorTypes: Partial<Record<ErrorCode, string>> = {
  invalid_argument: 'validation',
  context_length_exceeded: 'validation',
  unsupported: 'validation',
  payload_too_large: 'validation',
  unsupported_media_type: 'validation',
  not_found: 'not_found',
  model_not_found: 'not_found',
  overloaded: 'overload',
  rate_limited: 'overload',
  not_ready: 'unavailable',
  draining: 'unavailable',
  worker_unavailable: 'unavailable',
  stream_incomplete: 'unavailable',
  cancelled: 'cancelled',
  slow_reader: 'cancelled',
  deadline_exceeded: 'response_timeout',
  unimplemented: 'not_implemented',
};

const hitRateBuckets = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1];

interface ModelSeries {
  readonly interToken: { observe(value: number, times: number): void };
  readonly firstToken: { observe(value: number, times: number): void };
}

/** What the gateway counts. */
export class GatewayMetrics implements GenerationMetrics {
  readonly slowReaders: Counter;
  readonly disconnected: Counter;
  readonly routerFallbacks: Counter;
  readonly #requests: Counter;
  readonly #inflight: Gauge;
  readonly #duration: Histogram;
  readonly #inputTokens: Histogram;
  readonly #outputTokens: Histogram;
  readonly #outputTotal: Counter;
  readonly #cachedTokens: Counter;
  readonly #hitRate: Histogram;
  readonly #routerQueue: Histogram;
  readonly #stages: Histogram;
  readonly #placedPrompts: Counter;
  readonly #migrations: Counter;
  readonly #cancellations: Counter;
  readonly #embedding: Histogram;
  readonly #firstToken: FastHistogram;
  readonly #interToken: FastHistogram;
  readonly #series = new Map<string, ModelSeries>();
  readonly #catalog: ModelCatalog;

  constructor(registry: Registry, catalog: ModelCatalog) {
    this.#catalog = catalog;
    const registers = [registry];
    const counter = (name: string, help: string, labelNames: string[] = []): Counter =>
      new Counter({ name: `stator_gateway_${name}`, help, labelNames, registers });
    const histogram = (name: string, help: string, buckets: number[]): Histogram =>
      new Histogram({ name: `stator_gateway_${name}`, help, labelNames: ['model'], buckets, registers });
    this.#requests = counter('requests_total', 'Requests answered.', [
      'model',
      'endpoint',
      'request_type',
      'status',
      'error_type',
    ]);
    this.#inflight = new Gauge({
      name: 'stator_gateway_inflight_requests',
      help: 'Requests between their arrival and the end of their answer.',
      labelNames: ['model'],
      registers,
    });
    this.disconnected = counter('disconnected_clients_total', 'Clients that left before their answer ended.');
    this.slowReaders = counter('slow_readers_total', 'Clients cut because they did not read their stream.');
    this.routerFallbacks = counter('router_fallbacks_total', 'Requests placed in turn because no router answered.');
    this.#duration = histogram('request_duration_seconds', 'Whole request.', logBuckets(0.01, 512, 14));
    this.#inputTokens = histogram('input_sequence_tokens', 'Tokens of prompts.', logBuckets(1, 128_000, 14));
    this.#outputTokens = histogram(
      'output_sequence_tokens',
      'Tokens of output of a request.',
      logBuckets(1, 32_000, 12),
    );
    this.#embedding = histogram('embedding_latency_seconds', 'Embedding requests.', logBuckets(0.001, 10, 14));
    this.#outputTotal = counter('output_tokens_total', 'Tokens of output.', ['model']);
    this.#cachedTokens = counter('cached_tokens_total', 'Prompt tokens whose KV was found in a cache.', ['model']);
    this.#hitRate = histogram('kv_hit_rate', 'Share of a prompt that its worker found cached.', hitRateBuckets);
    this.#routerQueue = histogram(
      'router_queue_seconds',
      'Wait of placed requests in the queue of the router.',
      logBuckets(0.001, 60, 12),
    );
    this.#stages = new Histogram({
      name: 'stator_gateway_stage_duration_seconds',
      help: 'Stages up to the first token: preprocess, route (with the queue of the router), wait (in the worker), prefill. After it, where another worker decodes: decode_route, handoff (until that worker has the KV and a token).',
      labelNames: ['model', 'stage'],
      buckets: logBuckets(0.0005, 60, 12),
      registers,
    });
    this.#placedPrompts = counter(
      'placed_prompts_total',
      'Prompts placed, by who computes them: prefill (a prefill worker), decode (the decode worker itself) or whole (an aggregated worker).',
      ['model', 'by'],
    );
    this.#migrations = counter('migrations_total', 'Sequences moved to another worker.', ['model', 'type']);
    this.#cancellations = counter('cancellations_total', 'Requests whose client cancelled.', [
      'model',
      'endpoint',
      'request_type',
    ]);
    this.#firstToken = new FastHistogram({
      registry,
      name: 'stator_gateway_time_to_first_token_seconds',
      help: 'From the arrival of a request to its first token.',
      label: 'model',
      buckets: logBuckets(0.001, 480, 18),
    });
    this.#interToken = new FastHistogram({
      registry,
      name: 'stator_gateway_inter_token_latency_seconds',
      help: 'Time between tokens of one request, averaged over the tokens that arrived together.',
      label: 'model',
      buckets: logBuckets(0.0001, 80, 20),
    });
  }

  /** The name of a known model, or one constant for all others. */
  modelLabel(name: string): string {
    return this.#catalog.find(name)?.entry.name ?? unknownModel;
  }

  started(model: string): void {
    this.#inflight.inc({ model });
  }

  ended(o: {
    model: string;
    endpoint: Endpoint;
    type: RequestType;
    error: StatorError | null;
    seconds: number;
    generations: readonly Generation[];
  }): void {
    const { model, endpoint } = o;
    this.#inflight.dec({ model });
    const status = o.error === null ? 'success' : 'error';
    const errorType = o.error === null ? '' : (errorTypes[o.error.code] ?? 'internal');
    this.#requests.inc({ model, endpoint, request_type: o.type, status, error_type: errorType });
    if (errorType === 'cancelled') this.#cancellations.inc({ model, endpoint, request_type: o.type });
    this.#duration.observe({ model }, o.seconds);
    if (endpoint === 'embeddings') this.#embedding.observe({ model }, o.seconds);
    for (const generation of o.generations) {
      this.#inputTokens.observe({ model }, generation.prompt.tokenIds.length);
      this.#outputTokens.observe({ model }, generation.outputTokens);
      this.#outputTotal.inc({ model }, generation.outputTokens);
      this.#cachedTokens.inc({ model }, generation.cachedTokens);
      this.#routed(model, generation);
    }
  }

  /** What routing gave, and where the time until the first token went; nothing where the worker did not say. */
  #routed(model: string, { decision, times, prompt, cachedTokens }: Generation): void {
    const stage = (name: string, fromMs: number, toMs: number): void =>
      this.#stages.observe({ model, stage: name }, Math.max(0, toMs - fromMs) / 1000);
    stage('preprocess', times.receivedMs, times.preprocessedMs);
    if (decision !== null) {
      this.#routerQueue.observe({ model }, decision.queueUs / 1e6);
      stage('route', times.preprocessedMs, times.routedMs);
    }
    if (times.prefillBeganMs === 0) return;
    this.#hitRate.observe({ model }, cachedTokens / prompt.tokenIds.length);
    stage('wait', times.routedMs, times.prefillBeganMs);
    if (times.firstTokenMs > 0) stage('prefill', times.prefillBeganMs, times.firstTokenMs);
    if (times.decodeRoutedMs > 0) stage('decode_route', times.firstTokenMs, times.decodeRoutedMs);
    if (times.decodeBeganMs > 0) stage('handoff', times.decodeRoutedMs, times.decodeBeganMs);
  }

  tokens(generation: Generation, added: number): void {
    const { times } = generation;
    const now = performance.now();
    const series = this.#seriesOf(generation.request.model.entry.name);
    if (times.firstTokenMs === 0) {
      times.firstTokenMs = now;
      series.firstToken.observe((now - times.receivedMs) / 1000, 1);
      if (added > 1) series.interToken.observe(0, added - 1);
    } else {
      series.interToken.observe((now - times.lastTokenMs) / 1000 / added, added);
    }
    times.lastTokenMs = now;
  }

  placedPrompt({ request }: Generation, { kind, role }: Stage): void {
    const by = kind === 'prefill' ? 'prefill' : role === WorkerRole.DECODE ? 'decode' : 'whole';
    this.#placedPrompts.inc({ model: request.model.entry.name, by });
  }

  migrated(generation: Generation, type: 'new_request' | 'ongoing_request'): void {
    this.#migrations.inc({ model: generation.request.model.entry.name, type });
  }

  #seriesOf(model: string): ModelSeries {
    let series = this.#series.get(model);
    if (series === undefined) {
      series = { interToken: this.#interToken.series(model), firstToken: this.#firstToken.series(model) };
      this.#series.set(model, series);
    }
    return series;
  }
}
