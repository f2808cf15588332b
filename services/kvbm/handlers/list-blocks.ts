import { setImmediate as nextTurn } from 'node:timers/promises';
import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import { tiers, warmestFirst } from '#core/blocks/tiers.ts';
import {
  type BlockInfo,
  BlockInfoSchema,
  type KvBlockService,
  type ListBlocksRequest,
  type ListBlocksResponse,
  ListBlocksResponseSchema,
} from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import type { KvbmContext } from '../context.ts';
import { wireTiers } from '../names.ts';
import { sharedTenant } from '../namespace-book.ts';
import { hexOf } from '../records.ts';
import { type PlacedBlock, walk } from '../walk.ts';
import { tiersOf } from './tier-of.ts';

const perMessage = 256;

export function listBlocks(context: KvbmContext): Partial<ServiceImpl<typeof KvBlockService>> {
  return { listBlocks: (request) => list(context, request) };
}

/** Each block once, with all tiers that have it. What comes and goes meanwhile may be in the list or not. */
async function* list(
  context: KvbmContext,
  { tier, model, limit }: ListBlocksRequest,
): AsyncGenerator<ListBlocksResponse> {
  const wanted = tiersOf(tier);
  const most = limit === 0n ? Number.POSITIVE_INFINITY : Number(limit);
  let batch: BlockInfo[] = [];
  let count = 0;
  for (const placed of walk(context.manager, wanted, model)) {
    const isListed = wanted.some((warmer) => warmer < placed.tier && placed.block.slots[warmer] >= 0);
    if (isListed) continue;
    if (count++ >= most) break;
    batch.push(describe(context, placed));
    if (batch.length < perMessage) continue;
    yield create(ListBlocksResponseSchema, { blocks: batch });
    batch = [];
    await nextTurn();
  }
  if (batch.length > 0) yield create(ListBlocksResponseSchema, { blocks: batch });
}

function describe({ manager }: KvbmContext, { block, layout }: PlacedBlock): BlockInfo {
  const { model, tenant } = manager.namespaceAt(block.namespace);
  const hostSlot = block.slots[tiers.host];
  return create(BlockInfoSchema, {
    digest: hexOf(block.digest),
    sequenceHash: block.sequenceHash,
    position: block.position,
    model,
    tenant: tenant === sharedTenant ? '' : tenant,
    tiers: warmestFirst.filter((tier) => block.slots[tier] >= 0).map((tier) => wireTiers[tier]),
    priority: block.priority,
    pins: hostSlot < 0 ? 0 : (manager.block(tiers.host, layout, hostSlot)?.pins ?? 0),
  });
}
