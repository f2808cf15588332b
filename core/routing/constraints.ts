import { InstanceState } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { WorkerRole } from '#gen/stator/model/v1/model_pb.ts';
import type { RoutingConstraints } from '#gen/stator/router/v1/router_pb.ts';

/** What constraints look at in a worker's rank. */
export interface ConstrainedWorker {
  readonly instanceId: bigint;
  readonly dataParallelRank: number;
  readonly state: InstanceState;
  readonly role: WorkerRole;
  readonly taints: readonly string[];
  /** Whether the request needs an adapter that it has not loaded. */
  readonly lacksAdapter: boolean;
  /** Whether it failed a request a moment ago. */
  readonly inhibited: boolean;
  /** Which busy threshold it exceeds; null: none. */
  readonly busyBecause: string | null;
}

/** Why a worker may not serve a request. `busy` and `inhibited` pass by themselves; the others hold as long as worker and request are what they are. */
export type Exclusion = {
  readonly kind: 'state' | 'role' | 'pin' | 'not_allowed' | 'failed' | 'taint' | 'adapter' | 'inhibited' | 'busy';
  readonly reason: string;
};

const rolesFor: Readonly<Record<WorkerRole, readonly WorkerRole[]>> = {
  [WorkerRole.UNSPECIFIED]: [WorkerRole.AGGREGATED, WorkerRole.UNSPECIFIED],
  [WorkerRole.AGGREGATED]: [WorkerRole.AGGREGATED, WorkerRole.UNSPECIFIED],
  [WorkerRole.PREFILL]: [WorkerRole.PREFILL],
  [WorkerRole.DECODE]: [WorkerRole.DECODE],
  [WorkerRole.ENCODE]: [WorkerRole.ENCODE],
};

const states: Partial<Record<InstanceState, string>> = {
  [InstanceState.DRAINING]: 'it is draining',
  [InstanceState.ASLEEP]: 'it is asleep',
  [InstanceState.UNHEALTHY]: 'its health check failed',
};

/** The first reason, in a fixed order, why a worker may not serve a request; null: it may. */
export function exclusionOf(worker: ConstrainedWorker, constraints: RoutingConstraints | undefined): Exclusion | null {
  const state = states[worker.state];
  if (state !== undefined) return { kind: 'state', reason: state };
  const roles = rolesFor[constraints?.role ?? WorkerRole.UNSPECIFIED] ?? [];
  if (!roles.includes(worker.role)) return { kind: 'role', reason: 'it has another role' };
  if (constraints !== undefined) {
    const named = namedExclusion(worker, constraints);
    if (named !== null) return named;
  }
  if (worker.lacksAdapter) return { kind: 'adapter', reason: 'it has not loaded the adapter' };
  if (worker.busyBecause !== null) return { kind: 'busy', reason: worker.busyBecause };
  // A pinned request has no other worker to go to.
  if (worker.inhibited && constraints?.instanceId === undefined)
    return { kind: 'inhibited', reason: 'it failed a request a moment ago' };
  return null;
}

function namedExclusion(worker: ConstrainedWorker, constraints: RoutingConstraints): Exclusion | null {
  const { instanceId, dataParallelRank, allowedInstanceIds, excludedInstanceIds, requiredTaints } = constraints;
  if (instanceId !== undefined && instanceId !== worker.instanceId)
    return { kind: 'pin', reason: 'the request names another worker' };
  if (dataParallelRank !== undefined && dataParallelRank !== worker.dataParallelRank)
    return { kind: 'pin', reason: 'the request names another data parallel rank' };
  if (allowedInstanceIds.length > 0 && !allowedInstanceIds.includes(worker.instanceId))
    return { kind: 'not_allowed', reason: 'the request does not allow it' };
  if (excludedInstanceIds.includes(worker.instanceId)) return { kind: 'failed', reason: 'the request excludes it' };
  const missing = requiredTaints.find((taint) => !worker.taints.includes(taint));
  return missing === undefined ? null : { kind: 'taint', reason: `it lacks the taint ${missing}` };
}

/** Factor on a worker's cost: exp(−tanh(sum of the weights of preferred taints it carries)); below 1 is preferred. */
export function preferenceOf(
  taints: readonly string[],
  preferred: Readonly<Record<string, number>> | undefined,
): number {
  if (preferred === undefined) return 1;
  let weight = 0;
  for (const taint of taints) weight += preferred[taint] ?? 0;
  return weight === 0 ? 1 : Math.exp(-Math.tanh(weight));
}
