import { create } from '@bufbuild/protobuf';
import { type KvChanges, kvChangeKinds } from '#core/scheduling/engine/engine-model.ts';
import { KvBlocksRemovedSchema, KvBlocksStoredSchema, Tier } from '#gen/stator/events/v1/events_pb.ts';
import type { KvEventChange } from '../common/engine.ts';

const tiers = [Tier.DEVICE, Tier.HOST, Tier.DISK] as const;

/** Changes of a rank's cache as events; the columns are copied. */
export function kvMessages(changes: KvChanges, dataParallelRank: number): KvEventChange[] {
  const parents = new DataView(changes.parents.buffer, changes.parents.byteOffset);
  return Array.from({ length: changes.count }, (_, i): KvEventChange => {
    const [from, to] = [8 * (i === 0 ? 0 : (changes.ends[i - 1] ?? 0)), 8 * (changes.ends[i] ?? 0)];
    const sequenceHashes = changes.sequenceHashes.slice(from, to);
    const tier = tiers[changes.tiers[i] ?? 0] ?? Tier.DEVICE;
    if (changes.kinds[i] === kvChangeKinds.removed)
      return {
        dataParallelRank,
        change: { case: 'removed', value: create(KvBlocksRemovedSchema, { sequenceHashes, tier }) },
      };
    const startBlock = changes.startBlocks[i] ?? 0;
    const value = create(KvBlocksStoredSchema, {
      sequenceHashes,
      localHashes: changes.localHashes.slice(from, to),
      tier,
      startBlock,
      ...(startBlock > 0 && { parentSequenceHash: parents.getBigUint64(8 * i, true) }),
    });
    return { dataParallelRank, change: { case: 'stored', value } };
  });
}
