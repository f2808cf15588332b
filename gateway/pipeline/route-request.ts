import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { type RouteRequest, RouteRequestSchema } from '#gen/stator/router/v1/router_pb.ts';
import type { PreparedPrompt } from './prepare.ts';
import type { GenerationRequest, RoutingWishes } from './request.ts';
import { type Stage, stages } from './stage.ts';

/** What one attempt to place a prompt adds to it. */
export interface RouteOptions {
  /** Name of the reservation. */
  readonly routeId: string;
  readonly sequences: number;
  /** Workers that failed the request already. */
  readonly excluded: Iterable<bigint>;
  readonly queueTimeoutMs: number;
  /** Whether every worker's cost comes back. */
  readonly explain: boolean;
  readonly stage: Stage;
}

type RouteInit = Exclude<MessageInitShape<typeof RouteRequestSchema>, RouteRequest>;

/** What the router is asked for a prepared prompt. */
export function buildRouteRequest(request: GenerationRequest, prompt: PreparedPrompt, o: RouteOptions): RouteRequest {
  return create(RouteRequestSchema, {
    requestId: o.routeId,
    model: request.model.entry.name,
    promptTokens: prompt.tokenIds.length,
    sequenceHashes: prompt.sequenceHashes,
    kvBlockSize: prompt.kvBlockSize,
    ...wishesOf(request.routing, o.excluded),
    ...stageOf(request.routing, o),
    adapter: request.model.adapter,
    queueTimeoutMs: o.queueTimeoutMs,
    sequences: o.sequences,
    explain: o.explain,
    traceparent: request.traceparent,
    tracestate: request.tracestate,
  });
}

/** The part of it that says what of the request is to be placed. */
function stageOf(routing: RoutingWishes, { stage, excluded }: RouteOptions) {
  const { role } = stage;
  const constraints = { ...constraintsOf(routing, routing, excluded), role };
  if (stage.kind === 'whole') return { constraints, computesPrompt: stage === stages.alone };
  if (stage.kind === 'decode') {
    const prefillInstanceId = stage.prefill?.instanceId;
    return { constraints, ...(prefillInstanceId === undefined ? {} : { prefillInstanceId }) };
  }
  const { prefill } = routing;
  return {
    constraints: { ...constraintsOf(routing, prefill, excluded), role },
    expectedOutputTokens: 1,
    // A client that names the prefill worker means it.
    ...(prefill.instanceId === null ? { localPrefill: { ...constraints, role: stages.alone.role } } : {}),
  };
}

type Pin = Pick<RoutingWishes, 'instanceId' | 'dataParallelRank'>;

function constraintsOf(routing: RoutingWishes, pin: Pin, excluded: Iterable<bigint>) {
  return {
    ...(pin.instanceId === null ? {} : { instanceId: pin.instanceId }),
    ...(pin.dataParallelRank === null ? {} : { dataParallelRank: pin.dataParallelRank }),
    allowedInstanceIds: [...routing.allowedInstanceIds],
    excludedInstanceIds: [...excluded],
    requiredTaints: [...routing.requiredTaints],
    preferredTaints: { ...routing.preferredTaints },
  };
}

/** The part of it that the client decides; `excluded`: workers that failed the request already. */
export function wishesOf(routing: RoutingWishes, excluded: Iterable<bigint>): RouteInit {
  return {
    constraints: constraintsOf(routing, routing, excluded),
    mode: routing.mode,
    overrides: routing.overrides,
    priority: routing.queuePriority,
    strictPriority: routing.strictPriority,
    ...(routing.expectedOutputTokens === null ? {} : { expectedOutputTokens: routing.expectedOutputTokens }),
    sessionId: routing.sessionId,
    parentSessionId: routing.parentSessionId,
    sessionFinal: routing.sessionFinal,
    policyClass: routing.policyClass,
    arrivalUnixMs: BigInt(Math.trunc(routing.arrivalUnixMs)),
    deadlineUnixMs: BigInt(Math.trunc(routing.deadlineUnixMs)),
  };
}
