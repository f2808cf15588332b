import type { AppliedMessage, EventCounts } from './kv-index.ts';

type Writable<T> = { -readonly [K in keyof T]: T[K] };

export function noCounts(): Writable<EventCounts> {
  return { stored: 0, removed: 0, duplicates: 0, unmatchedParents: 0, unmatchedRemovals: 0, dropped: 0 };
}

export function addCounts(total: Writable<EventCounts>, more: EventCounts): void {
  total.stored += more.stored;
  total.removed += more.removed;
  total.duplicates += more.duplicates;
  total.unmatchedParents += more.unmatchedParents;
  total.unmatchedRemovals += more.unmatchedRemovals;
  total.dropped += more.dropped;
}

export function nothingApplied(): Writable<AppliedMessage> {
  return {
    ...noCounts(),
    events: 0,
    cleared: 0,
    unknownRank: 0,
    unknownChange: 0,
    firstSequenceNumber: 0n,
    lastSequenceNumber: 0n,
    newestSequenceNumber: 0n,
    snapshot: false,
    snapshotEnd: false,
  };
}
