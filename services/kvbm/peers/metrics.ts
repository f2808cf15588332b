import type { Registry } from 'prom-client';
import { counterOf, gaugeOf, histogramOf } from '#lib/telemetry/metrics.ts';

/** Figures of the exchange with other nodes; those of one registry are shared. */
export function peerMetrics(registry: Registry) {
  const name = (rest: string) => `stator_kvbm_peer_${rest}`;
  return {
    peers: gaugeOf(registry, name('nodes'), 'Block managers of other nodes that are known.'),
    asked: counterOf(
      registry,
      name('finds_total'),
      'Questions to one node, by answer: found, nothing, late or failed.',
      ['outcome'],
    ),
    loads: counterOf(
      registry,
      name('loads_total'),
      'Loads from one node, by outcome: ok, short (fewer blocks than wanted) or the error code.',
      ['backend', 'outcome'],
    ),
    loadedBytes: counterOf(registry, name('loaded_bytes_total'), 'Bytes that came from other nodes and were right.'),
    rejected: counterOf(
      registry,
      name('rejected_blocks_total'),
      'Blocks of other nodes that were not used, by reason.',
      ['reason'],
    ),
    loadSeconds: histogramOf(
      registry,
      name('load_seconds'),
      'Time of one load.',
      [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    ),
    pulling: gaugeOf(registry, name('loads'), 'Loads from other nodes that run.'),
    staged: counterOf(
      registry,
      name('stages_total'),
      'Stages for other nodes, by end: released, late, failed, stopped.',
      ['end'],
    ),
    stages: gaugeOf(registry, name('stages'), 'Stages that other nodes may read now.'),
    stagedBytes: gaugeOf(registry, name('staged_bytes'), 'Bytes of blocks that are kept for other nodes now.'),
  };
}

export type PeerMetrics = ReturnType<typeof peerMetrics>;
