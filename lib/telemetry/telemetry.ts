import type { Tracer } from '@opentelemetry/api';
import type { Logger } from 'pino';
import { collectDefaultMetrics, type Registry } from 'prom-client';
import { createLogger, type LogFormat } from './logger.ts';
import { MetricsRegistry } from './registry.ts';
import { createTracing } from './tracing.ts';

/** What every part of a service logs, counts and traces with. */
export interface Telemetry {
  readonly log: Logger;
  readonly metrics: Registry;
  readonly tracer: Tracer;
  /** Flushes spans and log records, for at most a few seconds. Idempotent; never rejects. */
  shutdown(): Promise<void>;
}

export interface TelemetryOptions {
  /** Name in logs and traces, for example "router". */
  readonly service: string;
  readonly logLevel: string;
  readonly logFormat: LogFormat;
  /** OTLP collector: http(s)://host:4317 speaks gRPC, a URL with a path (/v1/traces) or port 4318 speaks HTTP. Unset: no export. */
  readonly otlpEndpoint?: string | undefined;
  readonly instanceId?: bigint | undefined;
}

const FLUSH_TIMEOUT_MS = 3000;

/** Telemetry of one service; several may live in one process. Throws `invalid_argument` for an endpoint that is no URL. */
export function createTelemetry(options: TelemetryOptions): Telemetry {
  const { service, instanceId, otlpEndpoint: endpoint } = options;
  const log = createLogger(options);
  const metrics = new MetricsRegistry();
  collectDefaultMetrics({ register: metrics, prefix: 'stator_' });
  const tracing = createTracing({ service, instanceId, endpoint, log, metrics });
  let ending: Promise<void> | undefined;
  return {
    log,
    metrics,
    tracer: tracing.tracer,
    shutdown: () => {
      ending ??= bounded(tracing.shutdown(), FLUSH_TIMEOUT_MS)
        .catch((error: unknown) => log.warn({ err: error }, 'spans were lost at the end'))
        .then(() => new Promise<void>((resolve) => log.flush(() => resolve())));
      return ending;
    },
  };
}

/** Rejects if the work takes longer; a collector that hangs must not hold up the end of a process. */
async function bounded(work: Promise<void>, timeoutMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not flushed within ${timeoutMs} ms`)), timeoutMs);
  });
  try {
    await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
