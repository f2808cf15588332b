import { ROOT_CONTEXT, type Span, SpanStatusCode, type TextMapGetter, type Tracer } from '@opentelemetry/api';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import type { RouteDecision, RouteRequest } from '#gen/stator/router/v1/router_pb.ts';

const propagator = new W3CTraceContextPropagator();
const getter: TextMapGetter<RouteRequest> = {
  keys: () => ['traceparent', 'tracestate'],
  get: (request, key) => (key === 'traceparent' ? request.traceparent : request.tracestate) || undefined,
};

/** Decides inside a span that continues the request's own trace; without a traceparent there is none. */
export function inRouteSpan(tracer: Tracer, request: RouteRequest, decide: () => RouteDecision): RouteDecision {
  if (request.traceparent === '') return decide();
  const parent = propagator.extract(ROOT_CONTEXT, request, getter);
  const attributes = { 'stator.request_id': request.requestId, 'stator.model': request.model };
  const span = tracer.startSpan('router.route', { attributes }, parent);
  try {
    const decision = decide();
    span.setAttribute('stator.worker_id', decision.instanceId.toString());
    return decision;
  } catch (error) {
    fail(span, error);
    throw error;
  } finally {
    span.end();
  }
}

function fail(span: Span, error: unknown): void {
  span.setStatus({ code: SpanStatusCode.ERROR, message: error instanceof Error ? error.message : String(error) });
}
