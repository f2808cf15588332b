import type { Counter, Gauge, Registry } from 'prom-client';
import { counterOf, gaugeOf } from '#lib/telemetry/metrics.ts';

/** What one side of sessions counts; `side` is `worker` or `gateway`. */
export interface SessionMetrics {
  readonly frames: Counter.Internal;
  readonly tokens: Counter.Internal;
  readonly bufferedBytes: Gauge.Internal<'side'>;
  readonly reconnects: Counter.Internal;
  readonly slots: Gauge.Internal<'side'>;
  readonly sessions: Gauge.Internal<'side'>;
  readonly lost: Counter.Internal;
}

export function sessionMetrics(registry: Registry, side: 'worker' | 'gateway'): SessionMetrics {
  // From the start with a zero, because a series that is missing until its first event hides that event from rates.
  const counter = (name: string, help: string): Counter.Internal => {
    const child = counterOf(registry, `stator_session_${name}`, help, ['side']).labels(side);
    child.inc(0);
    return child;
  };
  const gauge = (name: string, help: string): Gauge.Internal<'side'> => {
    const child = gaugeOf(registry, `stator_session_${name}`, help, ['side']).labels(side);
    child.inc(0);
    return child;
  };
  return {
    frames: counter('frames_total', 'Step frames sent by workers or processed by gateways.'),
    tokens: counter('tokens_total', 'Tokens in those frames.'),
    bufferedBytes: gauge('buffered_bytes', 'Bytes of frames kept until they are acknowledged.'),
    reconnects: counter('reconnects_total', 'Sessions resumed after a broken connection.'),
    slots: gauge('slots', 'Sequences that run in sessions.'),
    sessions: gauge('sessions', 'Sessions open, broken ones within their grace period included.'),
    lost: counter('lost_sequences_total', 'Sequences that ended because their session could not be resumed.'),
  };
}
