import { ROOT_CONTEXT, type Span, SpanStatusCode, type TextMapGetter, type Tracer } from '@opentelemetry/api';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import type { RouteDecision, RouteRequest, WorkerCost } from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';

const propagator = new W3CTraceContextPropagator();
const getter: TextMapGetter<RouteRequest> = {
  keys: () => ['traceparent', 'tracestate'],
  get: (request, key) => (key === 'traceparent' ? request.traceparent : request.tracestate) || undefined,
};

/** Workers whose costs a span tells, the cheapest first. */
const maxCosts = 16;

/** The part of a request's own trace in which it waits and is placed; without a traceparent there is none. */
export class RouteSpan {
  readonly #span: Span | null;

  constructor(tracer: Tracer, request: RouteRequest) {
    if (request.traceparent === '') {
      this.#span = null;
      return;
    }
    const parent = propagator.extract(ROOT_CONTEXT, request, getter);
    const attributes = { 'stator.request_id': request.requestId, 'stator.model': request.model };
    this.#span = tracer.startSpan('router.route', { attributes }, parent);
  }

  /** Whether anybody will read what it tells. */
  get isRecording(): boolean {
    return this.#span?.isRecording() ?? false;
  }

  placed(decision: RouteDecision, costs: readonly WorkerCost[]): void {
    const span = this.#span;
    if (span === null) return;
    span.setAttributes({
      'stator.worker_id': decision.instanceId.toString(),
      'stator.router.overlap_tokens': decision.overlapTokens,
      'stator.router.queue_us': decision.queueUs,
    });
    const { disaggregation: stages } = decision;
    if (stages !== undefined)
      span.setAttributes({
        'stator.router.prefill': stages.remote ? 'remote' : 'local',
        'stator.router.prefill_because': stages.reason,
        'stator.router.prefill_policy': stages.policy,
      });
    const eligible = costs.filter(({ excludedBecause }) => excludedBecause === '').toSorted((a, b) => a.cost - b.cost);
    for (const { instanceId, dataParallelRank, cost, terms } of eligible.slice(0, maxCosts)) {
      span.addEvent('stator.router.cost', {
        'stator.worker_id': instanceId.toString(),
        'stator.data_parallel_rank': dataParallelRank,
        'stator.router.cost': cost,
        ...Object.fromEntries(Object.entries(terms).map(([name, value]) => [`stator.router.cost.${name}`, value])),
      });
    }
    span.end();
  }

  refused(thrown: unknown): void {
    this.#span?.setStatus({ code: SpanStatusCode.ERROR, message: StatorError.from(thrown).message });
    this.#span?.end();
  }
}
