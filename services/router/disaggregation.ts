import { create } from '@bufbuild/protobuf';
import { type DisaggregationSettings, judgeDisaggregation } from '#core/routing/disaggregation.ts';
import { reachConstraint } from '#core/routing/topology.ts';
import { WorkerRole } from '#gen/stator/model/v1/model_pb.ts';
import {
  type DisaggregationDecision,
  DisaggregationDecisionSchema,
  type RouteRequest,
  RouterMode,
  RoutingConstraintsSchema,
} from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { Placed, Placer } from './placer.ts';
import type { Workers } from './workers.ts';

export interface DisaggregationOptions {
  readonly placer: Placer;
  readonly workers: Workers;
  /** null: prefill workers compute every prompt. */
  readonly settings: DisaggregationSettings | null;
  /** Requests of a model that wait for a worker. */
  waiting(): number;
}

/** A request as it is to be placed. */
export interface Settled {
  readonly request: RouteRequest;
  /** null: nobody asked who computes the prompt. */
  readonly decision: DisaggregationDecision | null;
}

/** What becomes of the stages of split requests before they are placed: who computes the prompt, and how far its KV goes. */
export class Disaggregation {
  readonly #o: DisaggregationOptions;

  constructor(options: DisaggregationOptions) {
    this.#o = options;
  }

  settle(request: RouteRequest): Settled {
    if (request.prefillInstanceId !== undefined) return { request: this.#within(request), decision: null };
    if (request.localPrefill === undefined) return { request, decision: null };
    const { settings } = this.#o;
    const local = computedByDecode(request);
    const decision =
      settings === null || local === null
        ? create(DisaggregationDecisionSchema, { remote: true, policy: 'off', reason: 'unconditional' })
        : this.#judge(request, local, settings);
    return { request: decision.remote || local === null ? request : local, decision };
  }

  #judge(request: RouteRequest, local: RouteRequest, settings: DisaggregationSettings): DisaggregationDecision {
    const { placer, waiting } = this.#o;
    const { policy } = settings;
    const remote = (reason: string): DisaggregationDecision =>
      create(DisaggregationDecisionSchema, { remote: true, policy, reason });
    const decode = this.#tried(local);
    if (!(decode instanceof StatorError) && decode.decision.mode !== RouterMode.KV) return remote('mode_is_not_kv');
    if (decode instanceof StatorError) return remote('no_decode_worker');
    const prefill = this.#tried(request);
    const told = {
      decodeInstanceId: decode.decision.instanceId,
      decodeDataParallelRank: decode.decision.dataParallelRank,
      netNewTokens: Math.max(0, request.promptTokens - decode.decision.overlapTokens),
      ...(prefill instanceof StatorError ? {} : { prefillInstanceId: prefill.decision.instanceId }),
    };
    if (prefill instanceof StatorError && prefill.code !== 'overloaded')
      return create(DisaggregationDecisionSchema, { remote: false, policy, reason: 'no_prefill_worker', ...told });
    const verdict = judgeDisaggregation(
      {
        promptTokens: request.promptTokens,
        decode: { cachedTokens: decode.decision.overlapTokens, ...placer.blocksWith(decode) },
        prefill: prefill instanceof StatorError ? null : placer.prefillOf(prefill),
        prefillQueue: placer.requestsOf(request.model, WorkerRole.PREFILL) + waiting(),
      },
      settings,
    );
    const { remote: isRemote, reason, netNewTokens } = verdict;
    return create(DisaggregationDecisionSchema, { ...told, policy, remote: isRemote, reason, netNewTokens });
  }

  /** Where a request would go; why nowhere. Throws what is wrong with the request itself. */
  #tried(request: RouteRequest): Placed | StatorError {
    try {
      return this.#o.placer.place({ ...request, explain: false });
    } catch (thrown) {
      const error = StatorError.from(thrown);
      if (error.code === 'overloaded' || error.code === 'worker_unavailable' || error.code === 'not_found')
        return error;
      throw error;
    }
  }

  /** A decode stage, kept to workers that can fetch the KV from where it is, or drawn to them. */
  #within(request: RouteRequest): RouteRequest {
    const prefill =
      request.prefillInstanceId === undefined ? undefined : this.#o.workers.get(request.prefillInstanceId);
    const card = prefill?.cards.find(({ name }) => name === request.model);
    const reach = prefill === undefined ? null : reachConstraint(card?.kvReach, prefill.topology);
    if (reach === null) return request;
    const constraints = { ...(request.constraints ?? create(RoutingConstraintsSchema)) };
    const { taint, weight } = reach;
    if (weight === null) constraints.requiredTaints = [...constraints.requiredTaints, taint];
    else constraints.preferredTaints = { [taint]: weight, ...constraints.preferredTaints };
    return { ...request, constraints };
  }
}

/** The request as one for a decode worker that computes the prompt too; null: none may. */
function computedByDecode({ localPrefill, expectedOutputTokens: _, ...request }: RouteRequest): RouteRequest | null {
  if (localPrefill === undefined) return null;
  return { ...request, constraints: { ...localPrefill, role: WorkerRole.DECODE }, computesPrompt: true };
}
