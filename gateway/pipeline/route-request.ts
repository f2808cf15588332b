import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { type RouteRequest, RouteRequestSchema } from '#gen/stator/router/v1/router_pb.ts';
import type { PreparedPrompt } from './prepare.ts';
import type { GenerationRequest, RoutingWishes } from './request.ts';

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
}

/** What the router is asked for a prepared prompt. */
export function buildRouteRequest(request: GenerationRequest, prompt: PreparedPrompt, o: RouteOptions): RouteRequest {
  return create(RouteRequestSchema, {
    requestId: o.routeId,
    model: request.model.entry.name,
    promptTokens: prompt.tokenIds.length,
    sequenceHashes: prompt.sequenceHashes,
    kvBlockSize: prompt.kvBlockSize,
    ...wishesOf(request.routing, o.excluded),
    adapter: request.model.adapter,
    queueTimeoutMs: o.queueTimeoutMs,
    sequences: o.sequences,
    explain: o.explain,
    traceparent: request.traceparent,
    tracestate: request.tracestate,
  });
}

/** The part of it that the client decides; `excluded`: workers that failed the request already. */
export function wishesOf(
  routing: RoutingWishes,
  excluded: Iterable<bigint>,
): MessageInitShape<typeof RouteRequestSchema> {
  return {
    constraints: {
      ...(routing.instanceId === null ? {} : { instanceId: routing.instanceId }),
      ...(routing.dataParallelRank === null ? {} : { dataParallelRank: routing.dataParallelRank }),
      allowedInstanceIds: [...routing.allowedInstanceIds],
      excludedInstanceIds: [...excluded],
      requiredTaints: [...routing.requiredTaints],
      preferredTaints: { ...routing.preferredTaints },
    },
    mode: routing.mode,
    overrides: routing.overrides,
    priority: routing.queuePriority,
    strictPriority: routing.strictPriority,
    ...(routing.expectedOutputTokens === null ? {} : { expectedOutputTokens: routing.expectedOutputTokens }),
    sessionId: routing.sessionId,
    policyClass: routing.policyClass,
    arrivalUnixMs: BigInt(Math.trunc(routing.arrivalUnixMs)),
    deadlineUnixMs: BigInt(Math.trunc(routing.deadlineUnixMs)),
  };
}
