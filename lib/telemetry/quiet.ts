import { trace } from '@opentelemetry/api';
import { pino } from 'pino';
import { MetricsRegistry } from './registry.ts';
import type { Telemetry } from './telemetry.ts';

/** Telemetry for tests and benchmarks: a silent log, a registry of its own, a tracer that records nothing. */
export function quietTelemetry(): Telemetry {
  return {
    log: pino({ level: 'silent' }),
    metrics: new MetricsRegistry(),
    tracer: trace.getTracer('stator'),
    shutdown: async () => {},
  };
}
