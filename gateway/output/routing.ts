import {
  type DisaggregationDecision,
  type RouteDecision,
  RouterModeSchema,
  type WorkerCost,
} from '#gen/stator/router/v1/router_pb.ts';
import type { PreparedPrompt } from '../pipeline/prepare.ts';

/** Where a prompt goes and what every worker would have cost. */
export interface RoutedPrompt {
  readonly decision: RouteDecision;
  readonly costs: readonly WorkerCost[];
  /** Where its output comes from, where that is another worker. */
  readonly decode?: RouteDecision | null;
}

/**
 * The `routing` explanation as JSON: the decision, and every worker with its cost term by term or the reason why it could
 * not serve the request.
 */
export function renderRouting(
  requestId: string,
  prompt: PreparedPrompt,
  { decision, costs, decode = null }: RoutedPrompt,
): string {
  const { disaggregation } = decision;
  return JSON.stringify({
    request_id: requestId,
    ...placed(prompt, decision, costs),
    ...(disaggregation === undefined ? {} : { prefill: whoComputes(disaggregation) }),
    ...(decode === null ? {} : { decode: placed(prompt, decode, decode.costs) }),
  });
}

/** One stage of a request, or all of it. */
function placed(
  prompt: PreparedPrompt,
  decision: RouteDecision,
  costs: readonly WorkerCost[],
): Record<string, unknown> {
  return {
    mode: modeName(decision),
    by_session: decision.bySession,
    worker_id: decision.instanceId.toString(),
    dp_rank: decision.dataParallelRank,
    prompt_tokens: prompt.tokenIds.length,
    prompt_blocks: decision.promptBlocks,
    overlap_tokens: decision.overlapTokens,
    ...blocksOf(decision),
    queue_ms: decision.queueUs / 1000,
    queue_depth: decision.queueDepth,
    workers: costs.map(workerCost),
  };
}

/** Why the prompt is computed by a prefill worker, or by the decode worker itself. */
function whoComputes(told: DisaggregationDecision): Record<string, unknown> {
  const { remote, policy, reason, netNewTokens, decodeInstanceId, prefillInstanceId } = told;
  return {
    remote,
    policy,
    reason,
    ...(netNewTokens === undefined ? {} : { net_new_tokens: netNewTokens }),
    ...(prefillInstanceId === undefined ? {} : { prefill_worker_id: prefillInstanceId.toString() }),
    ...(decodeInstanceId === undefined ? {} : { decode_worker_id: decodeInstanceId.toString() }),
  };
}

function workerCost(worker: WorkerCost): Record<string, unknown> {
  const { instanceId, dataParallelRank: rank, excludedBecause, terms, cost, prefillTokens } = worker;
  return {
    worker_id: instanceId.toString(),
    dp_rank: rank,
    ...(excludedBecause === '' ? { cost, terms } : { excluded_because: excludedBecause }),
    ...blocksOf(worker),
    prefill_tokens: prefillTokens,
  };
}

type Blocks = Pick<WorkerCost, 'deviceBlocks' | 'hostBlocks' | 'diskBlocks' | 'externalBlocks' | 'sharedBlocks'>;

function blocksOf(of: Blocks): Record<string, number> {
  return {
    device_blocks: of.deviceBlocks,
    host_blocks: of.hostBlocks,
    disk_blocks: of.diskBlocks,
    external_blocks: of.externalBlocks,
    shared_blocks: of.sharedBlocks,
  };
}

/** As the router's settings spell it. */
function modeName({ mode }: RouteDecision): string {
  return (RouterModeSchema.value[mode]?.localName ?? 'unspecified').toLowerCase().replaceAll('_', '-');
}
