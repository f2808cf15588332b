import type { Registry } from 'prom-client';
import { counterOf, gaugeOf } from '#lib/telemetry/metrics.ts';

/**
 * Why a replica is sent everything: `connected`: its stream is new; `slow`: it was cut off at the buffer's bound;
 * `asked`: it missed a message.
 */
export type ResyncReason = 'connected' | 'slow' | 'asked';

export type PeerMetrics = ReturnType<typeof peerMetrics>;

export function peerMetrics(registry: Registry) {
  return {
    peers: gaugeOf(
      registry,
      'stator_router_peers',
      'Replicas known: linked, held (no stream, but their reservations still count) or apart.',
      ['state'],
    ),
    reservations: gaugeOf(
      registry,
      'stator_router_peer_reservations',
      'Reservations that replicas told of: counted, shadowed (counted as another one has them too) or waiting (their worker is not known).',
      ['state'],
    ),
    messages: counterOf(
      registry,
      'stator_router_peer_messages_total',
      'Messages exchanged with replicas, by direction (sent, received).',
      ['direction'],
    ),
    resyncs: counterOf(
      registry,
      'stator_router_peer_resyncs_total',
      'Snapshots begun for replicas, by cause (connected, slow, asked).',
      ['because'],
    ),
    gaps: counterOf(registry, 'stator_router_peer_gaps_total', 'Times a message of a replica was missed.'),
    dropped: counterOf(
      registry,
      'stator_router_peer_reservations_dropped_total',
      'Reservations of replicas that stopped counting without having finished, by cause (gone, unreachable, snapshot, limit).',
      ['because'],
    ),
    linksEnded: counterOf(
      registry,
      'stator_router_peer_streams_ended_total',
      'Streams with replicas that ended, by cause (closed, failed, silent, duplicate, self, refused).',
      ['because'],
    ),
    lagSeconds: gaugeOf(
      registry,
      'stator_router_peer_lag_seconds',
      'Time since the oldest change that a linked replica has not acknowledged, or that the last one took; the largest of all.',
    ),
  };
}
