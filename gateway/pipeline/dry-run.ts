import { servingOf } from '#core/models/serving.ts';
import type { RouteDecision, WorkerCost } from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { ModelEntry } from '../models/catalog.ts';
import type { PipelineParts } from './parts.ts';
import { type PreparedPrompt, preparePrompt } from './prepare.ts';
import type { GenerationRequest } from './request.ts';
import { buildRouteRequest } from './route-request.ts';
import { decodeAfter, promptStages, type Stage, settledStage, stages } from './stage.ts';

/** Which worker of a disaggregated pair is asked for; null: whoever serves the request first. */
export type RoutingPhase = 'prefill' | 'decode' | null;

/** What a request would have become. */
export interface DryRun {
  readonly prompt: PreparedPrompt;
  readonly decision: RouteDecision;
  readonly costs: readonly WorkerCost[];
  /** Who would decode, where another worker computes the prompt; null: the same one, or nobody asked. */
  readonly decode: RouteDecision | null;
}

const phases: Readonly<Record<NonNullable<RoutingPhase>, Stage>> = { prefill: stages.prefill, decode: stages.decode };

/** The phase that a dry run names; throws `invalid_argument` for an unknown one. */
export function routingPhase(name: string): RoutingPhase {
  if (name === '' || name === 'aggregated') return null;
  if (name === 'prefill' || name === 'decode') return name;
  const message =
    'Validation: `nvext.annotations`: the phase of `query_instance_id:` is `prefill`, `decode` or nothing';
  throw StatorError.invalid('nvext.annotations', message);
}

/**
 * Prepares a prompt and asks the router where it would go: nothing is reserved, nothing runs. Throws StatorError for what
 * the request itself would be refused for; `worker_unavailable` names the reasons of the workers.
 */
export async function dryRun(
  parts: PipelineParts,
  asked: GenerationRequest,
  o: { phase: RoutingPhase; signal: AbortSignal },
): Promise<DryRun> {
  const request = parts.tenants.apply(asked);
  const prompt = await preparePrompt(parts, request, o.signal);
  const options = { routeId: request.requestId, sequences: request.choices, excluded: [], explain: true };
  const explain = async (stage: Stage): Promise<{ decision: RouteDecision; costs: readonly WorkerCost[] }> => {
    const route = buildRouteRequest(request, prompt, { ...options, queueTimeoutMs: parts.routeTimeoutMs, stage });
    const { decision, costs } = await parts.router.explain(route, o.signal);
    if (decision === undefined) throw noWorker(request, costs);
    return { decision, costs };
  };
  const stage = stageOf(o.phase, request.model.entry);
  const first = await explain(stage);
  const isSplit = o.phase === null && settledStage(stage, first.decision).kind === 'prefill';
  const then = isSplit ? await explain(decodeAfter(first.decision)) : null;
  const decode = then === null ? null : { ...then.decision, costs: [...then.costs] };
  return { prompt, ...first, decode };
}

/** Workers that do both serve a phase for which a model has no workers of its own. */
function stageOf(phase: RoutingPhase, model: ModelEntry): Stage {
  const [first = stages.whole] = promptStages(servingOf(model));
  if (phase === null) return first;
  const { role } = phases[phase];
  return [...model.workers.values()].some(({ card }) => card.role === role) ? phases[phase] : stages.whole;
}

function noWorker(request: GenerationRequest, costs: readonly WorkerCost[]): StatorError {
  const model = request.model.entry.name;
  const workers = costs.map((cost) => ({
    worker_id: cost.instanceId.toString(),
    dp_rank: cost.dataParallelRank,
    excluded_because: cost.excludedBecause,
  }));
  const facts = { workers };
  return new StatorError('worker_unavailable', `No worker can serve the model \`${model}\` now.`, { facts });
}
