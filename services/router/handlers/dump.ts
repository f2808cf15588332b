import { setImmediate as nextTurn } from 'node:timers/promises';
import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import type { DumpChunk, DumpCursor, DumpEvent } from '#core/kv-index/kv-index.ts';
import { KvBlocksStoredSchema, KvEventSchema, Tier } from '#gen/stator/events/v1/events_pb.ts';
import { type DumpResponse, DumpResponseSchema, type KvIndexService } from '#gen/stator/router/v1/router_pb.ts';
import type { RouterContext } from '../context.ts';

/** Blocks read before requests are looked at again. */
const blocksPerTurn = 4096;

export function dump(context: RouterContext): Partial<ServiceImpl<typeof KvIndexService>> {
  return { dump: ({ model }) => dumpIndex(context, model) };
}

/** The index in events that rebuild it, a part in each turn of the event loop. */
export async function* dumpIndex({ blocks }: RouterContext, model: string): AsyncGenerator<DumpResponse> {
  let cursor: DumpCursor | undefined;
  do {
    const chunk: DumpChunk = blocks.index.dump(cursor, blocksPerTurn);
    for (const event of chunk.events) {
      const source = blocks.following.slots.sourceOf(event.slot);
      if (source === undefined || (model !== '' && source.model !== model)) continue;
      const { instanceId, dataParallelRank } = source;
      const events = [create(KvEventSchema, { dataParallelRank, change: { case: 'stored', value: storedOf(event) } })];
      yield create(DumpResponseSchema, { events: { model: source.model, instanceId, events } });
    }
    cursor = chunk.next;
    await nextTurn();
  } while (cursor !== undefined);
}

/** Tiers of contracts by their number in the index. */
const tiers = [Tier.DEVICE, Tier.HOST, Tier.DISK, Tier.EXTERNAL] as const;

function storedOf({ tier, parent, hashes }: DumpEvent) {
  return create(KvBlocksStoredSchema, {
    sequenceHashes: hashes,
    tier: tiers[tier] ?? Tier.UNSPECIFIED,
    ...(parent === undefined ? {} : { parentSequenceHash: parent }),
  });
}
