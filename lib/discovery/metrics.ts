import type { Counter, Gauge, Registry } from 'prom-client';
import { type ServiceKind, ServiceKindSchema } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { counterOf, gaugeOf } from '#lib/telemetry/metrics.ts';

export interface DiscoveryMetrics {
  readonly instances: Gauge<'kind'>;
  readonly events: Counter<'type'>;
  readonly leaseLosses: Counter;
  readonly reconnects: Counter;
  readonly connected: ConnectedState;
  readonly invalidEntries: Counter;
  readonly listenerErrors: Counter;
}

/** Whether one discovery's back end answers, for its process and for the metric. */
export class ConnectedState {
  readonly #gauge: Gauge;
  #value = false;

  constructor(gauge: Gauge) {
    this.#gauge = gauge;
  }

  get value(): boolean {
    return this.#value;
  }

  set(connected: boolean): void {
    this.#value = connected;
    this.#gauge.set(connected ? 1 : 0);
  }
}

/** The discovery metrics of a registry; two discoveries of one process share them. */
export function discoveryMetrics(registry: Registry): DiscoveryMetrics {
  return {
    instances: gaugeOf(registry, 'stator_discovery_instances', 'Instances that are up, by kind.', ['kind']),
    events: counterOf(registry, 'stator_discovery_events_total', 'Changes seen, by type: up, change, down.', ['type']),
    leaseLosses: counterOf(
      registry,
      'stator_discovery_lease_losses_total',
      'Own registrations found lost and renewed.',
    ),
    reconnects: counterOf(
      registry,
      'stator_discovery_reconnects_total',
      'Times that the back end was listed again after a fault.',
    ),
    connected: new ConnectedState(
      gaugeOf(
        registry,
        'stator_discovery_connected',
        'Whether the back end answers: 1, or 0 while the view may be old.',
      ),
    ),
    invalidEntries: counterOf(
      registry,
      'stator_discovery_invalid_entries_total',
      'Entries of the back end that were ignored as unreadable.',
    ),
    listenerErrors: counterOf(registry, 'stator_discovery_listener_errors_total', 'Callbacks of watches that threw.'),
  };
}

/** Low-cardinality label of a kind, for example `worker`. */
export function kindLabel(kind: ServiceKind): string {
  const value = ServiceKindSchema.value[kind];
  return value === undefined ? 'unknown' : value.localName.toLowerCase();
}
