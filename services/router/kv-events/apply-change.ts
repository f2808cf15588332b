import type { EventCounts, KvIndex } from '#core/kv-index/kv-index.ts';
import { type KvEvent, Tier } from '#gen/stator/events/v1/events_pb.ts';
import type { KvEventMetrics } from './metrics.ts';

/** Number of a tier in the index. */
export function tierNumber(tier: Tier): number {
  return tier === Tier.UNSPECIFIED ? 0 : tier - Tier.DEVICE;
}

/** Writes a change that this process made itself into the index, and counts it. Returns the blocks that are new. */
export function applyChange(index: KvIndex, slot: number, change: KvEvent['change'], metrics: KvEventMetrics): number {
  if (change.case === 'stored') {
    const { tier, sequenceHashes, parentSequenceHash } = change.value;
    metrics.stored.inc();
    return counted(index.store(slot, tierNumber(tier), parentSequenceHash, sequenceHashes), metrics);
  }
  if (change.case === 'removed') {
    metrics.removed.inc();
    return counted(index.remove(slot, tierNumber(change.value.tier), change.value.sequenceHashes), metrics);
  }
  if (change.case === 'cleared') {
    metrics.cleared.inc();
    index.clearSlot(slot);
  }
  return 0;
}

function counted(counts: EventCounts, metrics: KvEventMetrics): number {
  if (counts.unmatchedParents > 0) metrics.unmatchedParents.inc(counts.unmatchedParents);
  if (counts.unmatchedRemovals > 0) metrics.unmatchedBlocks.inc(counts.unmatchedRemovals);
  if (counts.dropped > 0) metrics.overCapacity.inc(counts.dropped);
  return counts.stored;
}
