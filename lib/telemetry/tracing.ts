import { context, propagation, type Tracer, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BatchSpanProcessor, NodeTracerProvider } from '@opentelemetry/sdk-trace-node';
import type { Logger } from 'pino';
import { Counter, type Registry } from 'prom-client';
import { createSpanExporter } from './span-exporter.ts';

export interface TracingOptions {
  readonly service: string;
  readonly instanceId?: bigint | undefined;
  /** OTLP collector; unset: spans are not recorded, but the caller's trace context still passes through. */
  readonly endpoint?: string | undefined;
  readonly log: Logger;
  readonly metrics: Registry;
}

export interface Tracing {
  readonly tracer: Tracer;
  /** Exports what is buffered, then ends. */
  shutdown(): Promise<void>;
}

/** Spans that wait for the collector; beyond that the newest are dropped. */
const MAX_BUFFERED_SPANS = 4096;
const WARN_INTERVAL_MS = 60_000;

let installed = false;

/** A tracer of its own for each service, also where several services share a process. */
export function createTracing(options: TracingOptions): Tracing {
  installOnce();
  const { endpoint } = options;
  if (endpoint === undefined) return { tracer: trace.getTracer('stator'), shutdown: async () => {} };
  const exporter = createSpanExporter(endpoint, failureReport(options));
  const provider = new NodeTracerProvider({
    resource: resourceFromAttributes({
      'service.name': `stator-${options.service}`,
      ...(options.instanceId === undefined ? {} : { 'service.instance.id': options.instanceId.toString(16) }),
    }),
    spanProcessors: [new BatchSpanProcessor(exporter, { maxQueueSize: MAX_BUFFERED_SPANS })],
  });
  return { tracer: provider.getTracer('stator'), shutdown: () => provider.shutdown() };
}

/** Context by AsyncLocalStorage and W3C headers are the process's, whatever number of services it runs. */
function installOnce(): void {
  if (installed) return;
  installed = true;
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
}

/** A collector that is away costs spans, never the service: count, and warn at most once a minute. */
function failureReport({ endpoint, log, metrics }: TracingOptions): (error: Error | undefined) => void {
  const failures = new Counter({
    name: 'stator_trace_export_errors_total',
    help: 'Batches of spans that the collector did not take.',
    registers: [metrics],
  });
  let silentUntilMs = 0;
  return (error) => {
    failures.inc();
    const nowMs = performance.now();
    if (nowMs < silentUntilMs) return;
    silentUntilMs = nowMs + WARN_INTERVAL_MS;
    log.warn({ err: error, endpoint }, 'spans could not be exported');
  };
}
