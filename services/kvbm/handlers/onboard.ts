import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import { trace } from '@opentelemetry/api';
import {
  type KvBlockService,
  OnboardEnd,
  OnboardEndSchema,
  type OnboardRequest,
  type OnboardResponse,
  OnboardResponseSchema,
} from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { chainOf } from '../chain.ts';
import type { KvbmContext } from '../context.ts';
import type { AttachedHolder } from '../holders.ts';
import { type OnboardReport, OnboardRun, type ReadyRun } from '../onboard.ts';
import { joinWords } from '../records.ts';

export function onboard(context: KvbmContext): Partial<ServiceImpl<typeof KvBlockService>> {
  return { onboard: (request, { signal }) => serveOnboard(context, request, signal) };
}

async function* serveOnboard(
  context: KvbmContext,
  request: OnboardRequest,
  cancelled: AbortSignal,
): AsyncGenerator<OnboardResponse> {
  const { config, holders, nowMs, stopping, metrics } = context;
  const holder = holders.acting(request.holderId);
  const chain = chainOf(request.chain, holder, config.maxChainBlocks);
  holders.checkLeases(holder);
  const { recomputeBlockUs } = request;
  const onboarding = new OnboardRun(context.onboarding, {
    holder: holder.id,
    layout: holder.layout,
    chain,
    deadlineMs: nowMs() + (request.timeoutMs || config.onboardTimeoutMs),
    recomputeBlockMs: recomputeBlockUs === undefined ? undefined : recomputeBlockUs / 1000,
    window: config.onboardWindow,
    maxLoad: config.onboardLoadBlocks,
    loadsPerSource: config.onboardLoadsPerSource,
    findTimeoutMs: config.findTimeoutMs,
    signal: AbortSignal.any([cancelled, stopping]),
  });
  const run = onboarding.run();
  const given: number[] = [];
  let isWhole = false;
  try {
    for (;;) {
      const step = await run.next();
      if (step.done === true) {
        metrics.onboards(1, endName(step.value));
        explain(context, holder, onboarding.report, endName(step.value));
        yield create(OnboardResponseSchema, { end: step.value });
        isWhole = true;
        return;
      }
      given.push(step.value.lease.id);
      holders.lend(holder, step.value.lease.id);
      yield messageOf(step.value);
    }
  } finally {
    await run.return(OnboardEnd.FAILED);
    if (!isWhole) giveBack(context, holder, given);
  }
}

/** The same record in the call's span and in the log. */
function explain({ log }: KvbmContext, holder: AttachedHolder, report: OnboardReport, end: string): void {
  const { foundBlocks, ...rest } = report;
  const facts = {
    ...rest,
    ...Object.fromEntries(Object.entries(foundBlocks).map(([name, n]) => [`found.${name}`, n])),
  };
  for (const [name, value] of Object.entries({ ...facts, end }))
    if (value !== undefined) trace.getActiveSpan()?.setAttribute(`stator.kvbm.onboard.${name}`, value);
  log.debug({ holder: holder.name, ...report, end }, 'onboarded');
}

/** Who breaks the call off may not have heard of all its leases: they end with it. */
function giveBack({ holders }: KvbmContext, holder: AttachedHolder, leases: readonly number[]): void {
  for (const lease of leases) holders.giveBack(holder, lease);
}

function endName(end: OnboardEnd): string {
  return OnboardEndSchema.value[end]?.name.replace('ONBOARD_END_', '').toLowerCase() ?? 'unknown';
}

function messageOf({ lease, from, count, source }: ReadyRun): OnboardResponse {
  const { slots, generations, checksums, sizes } = lease;
  return create(OnboardResponseSchema, {
    leaseId: BigInt(lease.id),
    from,
    slots: [...slots.subarray(0, count)],
    generations: [...generations.subarray(0, count)],
    checksums: Array.from({ length: count }, (_, at) => joinWords(checksums[2 * at] ?? 0, checksums[2 * at + 1] ?? 0)),
    bytes: Array.from(sizes.subarray(0, count), BigInt),
    tiers: new Uint8Array(count).fill(source + 1),
  });
}
