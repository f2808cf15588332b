import { context, propagation, type Tracer, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BatchSpanProcessor, NodeTracerProvider } from '@opentelemetry/sdk-trace-node';
import type { Logger } from 'pino';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { createLogger, type LogFormat } from './logger.ts';
import { createSpanExporter } from './span-exporter.ts';

/** What every part of a process logs, counts and traces with. */
export interface Telemetry {
  readonly log: Logger;
  readonly metrics: Registry;
  readonly tracer: Tracer;
  /** Flushes spans, for at most a few seconds. Idempotent; never rejects. */
  shutdown(): Promise<void>;
}

export interface TelemetryOptions {
  readonly service: string;
  readonly logLevel: string;
  readonly logFormat: LogFormat;
  /** OTLP collector: http(s)://host:4317 speaks gRPC, any URL with a path (/v1/traces) speaks HTTP. Unset: no export. */
  readonly otlpEndpoint?: string | undefined;
  readonly instanceId?: bigint | undefined;
}

const FLUSH_TIMEOUT_MS = 3000;

export function createTelemetry(options: TelemetryOptions): Telemetry {
  const log = createLogger(options);
  const metrics = new Registry();
  collectDefaultMetrics({ register: metrics, prefix: 'stator_' });
  const provider = startTracing(options, log);
  return {
    log,
    metrics,
    tracer: trace.getTracer('stator'),
    shutdown: async () => {
      if (provider === undefined) return;
      await Promise.race([
        provider.shutdown().catch((error: unknown) => log.warn({ err: error }, 'spans could not be flushed')),
        new Promise<void>((resolve) => setTimeout(resolve, FLUSH_TIMEOUT_MS).unref()),
      ]);
    },
  };
}

function startTracing(options: TelemetryOptions, log: Logger): NodeTracerProvider | undefined {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  if (options.otlpEndpoint === undefined) return undefined;
  const provider = new NodeTracerProvider({
    resource: resourceFromAttributes({
      'service.name': `stator-${options.service}`,
      ...(options.instanceId === undefined ? {} : { 'service.instance.id': options.instanceId.toString(16) }),
    }),
    spanProcessors: [new BatchSpanProcessor(createSpanExporter(options.otlpEndpoint))],
  });
  trace.setGlobalTracerProvider(provider);
  log.debug({ endpoint: options.otlpEndpoint }, 'exporting traces');
  return provider;
}
