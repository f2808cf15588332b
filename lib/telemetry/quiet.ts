import { trace } from '@opentelemetry/api';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import type { Telemetry } from './telemetry.ts';

/** Telemetry for tests and benchmarks: a silent log, a registry of its own, a tracer that records nothing. */
export function quietTelemetry(): Telemetry {
  return {
    log: pino({ level: 'silent' }),
    metrics: new Registry(),
    tracer: trace.getTracer('stator'),
    shutdown: async () => {},
  };
}
