import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import { tiers } from '#core/blocks/tiers.ts';
import {
  type KvBlockService,
  type VerifyRequest,
  type VerifyResponse,
  VerifyResponseSchema,
} from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import type { KvbmContext } from '../context.ts';
import { inspect } from '../inspection.ts';
import { type PlacedBlock, walk } from '../walk.ts';
import { tiersOf } from './tier-of.ts';

/** Blocks checked between two reports. */
const perReport = 64;

export function verify(context: KvbmContext): Partial<ServiceImpl<typeof KvBlockService>> {
  return { verify: (request, { signal }) => run(context, request, AbortSignal.any([signal, context.stopping])) };
}

async function* run(
  context: KvbmContext,
  { tier, limit }: VerifyRequest,
  signal: AbortSignal,
): AsyncGenerator<VerifyResponse> {
  const most = limit === 0n ? undefined : Number(limit);
  const placed = [...walk(context.manager, tiersOf(tier), '')].slice(0, most);
  let [checked, wrong] = [0, 0];
  for (let from = 0; from < placed.length && !signal.aborted; from += perReport) {
    const part = placed.slice(from, from + perReport);
    for (const one of part) wrong += await check(context, one);
    checked += part.length;
    yield create(VerifyResponseSchema, report(checked, wrong, placed.length));
  }
  if (placed.length === 0) yield create(VerifyResponseSchema, report(0, 0, 0));
}

/** 1 for a block that was wrong and is dropped. */
async function check(context: KvbmContext, { tier, layout, slot, block }: PlacedBlock): Promise<number> {
  const { host, lower, manager, self } = context;
  const described = host.layoutOf(layout);
  if (tier === tiers.host) return (await inspect(context, described, [slot])).wrong;
  const found = lower.tiers.find((one) => one.tier === tier);
  if (found === undefined || manager.slotOf(tier, block.namespace, block.digest, 0) !== slot) return 0;
  const lease = manager.pin(self, tier, block.namespace, block.digest, [0]);
  try {
    if (await found.verify(described, slot)) return 0;
    return manager.drop(tier, block.namespace, block.digest, 0) ? 1 : 0;
  } finally {
    manager.release(self, lease.id);
  }
}

function report(checked: number, wrong: number, total: number) {
  return { checked: BigInt(checked), wrong: BigInt(wrong), total: BigInt(total) };
}
