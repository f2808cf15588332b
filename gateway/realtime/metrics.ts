import type { Counter, Gauge, Registry } from 'prom-client';
import { counterOf, gaugeOf } from '#lib/telemetry/metrics.ts';

/** What is counted of /v1/realtime besides its responses, which are requests. */
export interface RealtimeMetrics {
  readonly connections: Gauge;
  readonly refused: Counter<'code'>;
  readonly closed: Counter<'reason'>;
  readonly events: Counter<'type'>;
  readonly errors: Counter<'code'>;
}

export function realtimeMetrics(registry: Registry): RealtimeMetrics {
  const name = (of: string): string => `stator_gateway_realtime_${of}`;
  return {
    connections: gaugeOf(registry, name('connections'), 'Open connections of /v1/realtime.'),
    refused: counterOf(registry, name('refused_total'), 'Connections of /v1/realtime that were refused.', ['code']),
    closed: counterOf(registry, name('closed_total'), 'Connections of /v1/realtime that ended, by why.', ['reason']),
    events: counterOf(registry, name('events_total'), 'Events of clients of /v1/realtime.', ['type']),
    errors: counterOf(registry, name('errors_total'), 'Error events sent to clients of /v1/realtime.', ['code']),
  };
}
