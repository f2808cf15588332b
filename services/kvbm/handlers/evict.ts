import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import { type EvictRequest, EvictResponseSchema, type KvBlockService } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { KvbmContext } from '../context.ts';
import { hexOf } from '../records.ts';
import { type PlacedBlock, walk } from '../walk.ts';
import { tierOf } from './tier-of.ts';

export function evict(context: KvbmContext): Partial<ServiceImpl<typeof KvBlockService>> {
  return {
    evict(request) {
      const evicted = request.digest === '' ? evictCount(context, request) : evictDigest(context, request);
      return create(EvictResponseSchema, { evicted: BigInt(evicted) });
    },
  };
}

function evictCount({ manager }: KvbmContext, { tier: wire, count, model }: EvictRequest): number {
  const tier = tierOf(wire);
  if (count === 0n) throw StatorError.invalid('count', 'How many blocks are to go is not said, nor is a digest given.');
  const most = Number(count);
  if (model !== '') return dropFirst([...walk(manager, [tier], model)].toSorted(furthestFirst), most, manager);
  let evicted = 0;
  for (const { tier: of, arena } of manager.use())
    if (of === tier) evicted += manager.evict(tier, arena, most - evicted);
  return evicted;
}

function evictDigest({ manager }: KvbmContext, { tier: wire, count, digest, model }: EvictRequest): number {
  const tier = tierOf(wire);
  if (!/^[0-9a-f]{32}$/.test(digest)) throw StatorError.invalid('digest', 'It must have 32 hexadecimal digits.');
  if (count !== 0n) throw StatorError.invalid('count', 'Either a count or a digest says what goes, not both.');
  const found = [...walk(manager, [tier], model)].filter(({ block }) => hexOf(block.digest) === digest);
  return dropFirst(found, found.length, manager);
}

/** The ends of prompts go before their beginnings. */
function furthestFirst(a: PlacedBlock, b: PlacedBlock): number {
  return b.block.position - a.block.position;
}

/** Blocks that somebody reads stay. */
function dropFirst(found: readonly PlacedBlock[], most: number, manager: KvbmContext['manager']): number {
  let dropped = 0;
  for (const { tier, block } of found) {
    if (dropped >= most) break;
    if (block.pins === 0 && manager.drop(tier, block.namespace, block.digest, 0)) dropped++;
  }
  return dropped;
}
