import { create } from '@bufbuild/protobuf';
import { type KvBlocksStored, KvBlocksStoredSchema, Tier } from '#gen/stator/events/v1/events_pb.ts';
import { packHashes } from '../tokens/packed-hashes.ts';
import type { BlockLedger, LedgerBlock } from './block-ledger.ts';

/** Blocks in one event at most. */
const maxRun = 4096;

/** Everything in a ledger as stored events, in which every parent comes before its children. */
export function ledgerEvents(ledger: BlockLedger): KvBlocksStored[] {
  const tiers = [Tier.DEVICE, Tier.HOST, Tier.DISK, Tier.EXTERNAL];
  return tiers.flatMap((tier) => chains(ledger.inTier(tier)).flatMap((chain) => storedEvents(chain, tier)));
}

/** Stored events of blocks in the order in which they are given; an event ends where the next block does not follow. */
export function storedEvents(blocks: readonly LedgerBlock[], tier: Tier): KvBlocksStored[] {
  const events: KvBlocksStored[] = [];
  for (let from = 0, to = 1; from < blocks.length; to++) {
    const before = blocks[to - 1];
    const follows = to < blocks.length && to - from < maxRun && blocks[to]?.parent === before?.sequenceHash;
    if (follows) continue;
    events.push(storedEvent(blocks.slice(from, to), tier));
    from = to;
  }
  return events;
}

function storedEvent(run: readonly LedgerBlock[], tier: Tier): KvBlocksStored {
  const parent = run[0]?.parent ?? null;
  return create(KvBlocksStoredSchema, {
    ...(parent !== null && { parentSequenceHash: parent }),
    sequenceHashes: packHashes(BigUint64Array.from(run, (block) => block.sequenceHash)),
    localHashes: packHashes(BigUint64Array.from(run, (block) => block.localHash)),
    tier,
    startBlock: run[0]?.position ?? 0,
  });
}

/**
 * Splits blocks, sorted by position, into chains: each block goes on with the first of its children. A chain begins
 * deeper than the block it hangs on, so chains in the order of their first blocks keep parents before children.
 */
function chains(blocks: readonly LedgerBlock[]): LedgerBlock[][] {
  const tails = new Map<bigint, LedgerBlock[]>();
  const found: LedgerBlock[][] = [];
  for (const block of blocks) {
    let chain = block.parent === null ? undefined : tails.get(block.parent);
    if (chain === undefined) {
      chain = [];
      found.push(chain);
    } else if (block.parent !== null) {
      tails.delete(block.parent);
    }
    chain.push(block);
    tails.set(block.sequenceHash, chain);
  }
  return found;
}
