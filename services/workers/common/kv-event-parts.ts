import { create } from '@bufbuild/protobuf';
import { hashCount } from '#core/tokens/packed-hashes.ts';
import {
  type KvBlocksStored,
  KvBlocksStoredSchema,
  type KvEventBatch,
  KvEventBatchSchema,
  KvEventSchema,
} from '#gen/stator/events/v1/events_pb.ts';
import type { KvEventChange } from './engine.ts';

/** Blocks in one event at most: what a router applies without letting others in between. */
const maxEventBlocks = 1024;

/** Blocks in one message of a snapshot, roughly. */
const maxPartBlocks = 2048;

/** Events that all carry one number. */
export function numbered(changes: readonly KvEventChange[], number: number): KvEventBatch {
  const sequenceNumber = BigInt(number);
  return create(KvEventBatchSchema, {
    events: changes.map(({ change, dataParallelRank }) =>
      create(KvEventSchema, { sequenceNumber, dataParallelRank, change }),
    ),
  });
}

/** The same change in events of a bounded size, in order. */
export function* boundedChanges(change: KvEventChange): Generator<KvEventChange> {
  const { dataParallelRank } = change;
  if (change.change.case !== 'stored' || hashCount(change.change.value.sequenceHashes) <= maxEventBlocks) {
    yield change;
    return;
  }
  for (const value of storedParts(change.change.value)) yield { dataParallelRank, change: { case: 'stored', value } };
}

/** One rank's share of a snapshot, a message's worth at a time. */
export function* snapshotParts(snapshot: Iterable<KvEventChange>, rank: number): Generator<KvEventChange[]> {
  let part: KvEventChange[] = [];
  let blocks = 0;
  for (const whole of snapshot) {
    if (whole.dataParallelRank !== rank) continue;
    for (const change of boundedChanges(whole)) {
      part.push(change);
      blocks += change.change.case === 'stored' ? hashCount(change.change.value.sequenceHashes) : 1;
      if (blocks < maxPartBlocks) continue;
      yield part;
      part = [];
      blocks = 0;
    }
  }
  if (part.length > 0) yield part;
}

function* storedParts(stored: KvBlocksStored): Generator<KvBlocksStored> {
  const { sequenceHashes: hashes, localHashes, tier, startBlock } = stored;
  let { parentSequenceHash } = stored;
  for (let at = 0; at < hashes.length; at += maxEventBlocks * 8) {
    const end = Math.min(at + maxEventBlocks * 8, hashes.length);
    yield create(KvBlocksStoredSchema, {
      ...(parentSequenceHash !== undefined && { parentSequenceHash }),
      sequenceHashes: hashes.subarray(at, end),
      localHashes: localHashes.subarray(at, end),
      tier,
      startBlock: startBlock + at / 8,
    });
    parentSequenceHash = new DataView(hashes.buffer, hashes.byteOffset + end - 8, 8).getBigUint64(0, true);
  }
}
