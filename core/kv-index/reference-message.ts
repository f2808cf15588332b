import { fromBinary } from '@bufbuild/protobuf';
import { type SubscribeKvEventsResponse, SubscribeKvEventsResponseSchema } from '#gen/stator/engine/v1/engine_pb.ts';
import type { KvEvent } from '#gen/stator/events/v1/events_pb.ts';
import type { AppliedMessage, KvIndex } from './kv-index.ts';
import { addCounts, nothingApplied } from './reference-counts.ts';

/** A message that is no SubscribeKvEventsResponse, or has a column of hashes of another length than a multiple of 8. */
export class MalformedEventsError extends Error {
  override readonly name = 'MalformedEventsError';
  readonly code = 'invalid_argument';
  readonly field = 'message';
}

/** `KvIndex.applyMessage` by the generated code. */
export function applyDecoded(
  index: KvIndex,
  bytes: Uint8Array,
  slotOfRank: (rank: number) => number | undefined,
): AppliedMessage {
  const message = decode(bytes);
  const events = message.batch?.events ?? [];
  const slots = new Map(events.map((event) => [event.dataParallelRank, slotOfRank(event.dataParallelRank)]));
  const result = nothingApplied();
  result.events = events.length;
  result.firstSequenceNumber = events[0]?.sequenceNumber ?? 0n;
  result.lastSequenceNumber = events.at(-1)?.sequenceNumber ?? 0n;
  result.newestSequenceNumber = message.newestSequenceNumber;
  result.snapshot = message.snapshot;
  result.snapshotEnd = message.snapshotEnd;
  for (const event of events) applyEvent(index, event, slots.get(event.dataParallelRank), result);
  return result;
}

function decode(bytes: Uint8Array): SubscribeKvEventsResponse {
  let message: SubscribeKvEventsResponse;
  try {
    message = fromBinary(SubscribeKvEventsResponseSchema, bytes);
  } catch (cause) {
    throw new MalformedEventsError('These bytes are no message of KV events.', { cause });
  }
  for (const { change } of message.batch?.events ?? []) {
    if (change.case !== 'stored' && change.case !== 'removed') continue;
    if (change.value.sequenceHashes.length % 8 !== 0)
      throw new MalformedEventsError('A column of sequence hashes has a length that is no multiple of 8.');
  }
  return message;
}

type Result = ReturnType<typeof nothingApplied>;

function applyEvent(index: KvIndex, event: KvEvent, slot: number | undefined, result: Result): void {
  const { change } = event;
  const tier = change.case === 'stored' || change.case === 'removed' ? tierNumber(change.value.tier) : 0;
  if (slot === undefined) result.unknownRank++;
  else if (change.case === undefined || tier === undefined) result.unknownChange++;
  else if (change.case === 'stored')
    addCounts(result, index.store(slot, tier, change.value.parentSequenceHash, change.value.sequenceHashes));
  else if (change.case === 'removed') addCounts(result, index.remove(slot, tier, change.value.sequenceHashes));
  else {
    result.cleared++;
    index.clearSlot(slot);
  }
}

/** Contracts begin at 1 with the device; unstated is the device. */
function tierNumber(tier: number): number | undefined {
  if (tier < 0 || tier > 4) return undefined;
  return Math.max(tier - 1, 0);
}
