import type { Registry } from 'prom-client';
import { counterOf, gaugeOf } from '#lib/telemetry/metrics.ts';

const name = (rest: string): string => `stator_router_kv_${rest}`;

export type KvEventMetrics = ReturnType<typeof kvEventMetrics>;

export function kvEventMetrics(registry: Registry) {
  const applied = counterOf(registry, name('events_applied_total'), 'KV events that the index took, by kind.', [
    'event_type',
  ]);
  const unmatched = counterOf(
    registry,
    name('events_unmatched_total'),
    'KV events stored after a block that is not known (parent), and removed blocks that were not (block).',
    ['reason'],
  );
  const dropped = counterOf(
    registry,
    name('events_dropped_total'),
    'KV events not applied: duplicate, gap (they are asked for again), malformed, unknown (rank, kind or tier); and blocks for which the index had no room (capacity).',
    ['reason'],
  );
  const workers = gaugeOf(
    registry,
    name('event_workers'),
    'Workers that promise KV events: in sync, syncing, without a source, or with a block size that is not told.',
    ['state'],
  );
  return {
    stored: applied.labels('stored'),
    removed: applied.labels('removed'),
    cleared: applied.labels('cleared'),
    unmatchedParents: unmatched.labels('parent'),
    unmatchedBlocks: unmatched.labels('block'),
    duplicates: dropped.labels('duplicate'),
    afterGap: dropped.labels('gap'),
    overCapacity: dropped.labels('capacity'),
    malformed: dropped.labels('malformed'),
    unknown: dropped.labels('unknown'),
    gaps: counterOf(registry, name('event_gaps_total'), 'Times KV events of a worker were missed.'),
    resyncs: counterOf(registry, name('event_resyncs_total'), 'Snapshots of workers’ caches that were begun.'),
    streamsEnded: counterOf(registry, name('event_streams_ended_total'), 'Streams of KV events that ended or failed.'),
    inSync: workers.labels('in_sync'),
    syncing: workers.labels('syncing'),
    noSource: workers.labels('no_source'),
    blockSizeUnknown: workers.labels('block_size_unknown'),
    sourceMismatch: gaugeOf(
      registry,
      name('event_source_mismatch_workers'),
      'Workers that promise KV events and send none.',
    ),
    neverMatched: gaugeOf(
      registry,
      name('never_matched_workers'),
      'Workers whose KV events arrive but match no request that should match.',
    ),
    blocks: gaugeOf(registry, name('index_blocks'), 'Distinct KV blocks in the index, all tiers together.'),
    entries: gaugeOf(
      registry,
      name('index_entries'),
      'KV blocks in the index, one for each rank and tier that has it.',
    ),
    bytes: gaugeOf(registry, name('index_bytes'), 'Memory of the index.'),
    slots: gaugeOf(registry, name('index_slots'), 'Ranks of workers in the index.'),
    limit: gaugeOf(registry, name('index_block_limit'), 'Most distinct KV blocks that the index takes.'),
  };
}
