import { type KvReach, KvReach_Enforcement } from '#gen/stator/model/v1/model_pb.ts';

/** What a taint of a worker's place is called. */
export function topologyTaint(domain: string, value: string): string {
  return `stator.topology/${domain}=${value}`;
}

/** What decode workers must or should carry to fetch the KV of a prefill worker. */
export interface ReachConstraint {
  readonly taint: string;
  /** null: they must. */
  readonly weight: number | null;
}

/** null: any worker can fetch it, or nobody has said where the prefill worker stands. */
export function reachConstraint(
  reach: KvReach | undefined,
  topology: Readonly<Record<string, string>>,
): ReachConstraint | null {
  const value = reach === undefined ? undefined : topology[reach.domain];
  if (reach === undefined || value === undefined) return null;
  const taint = topologyTaint(reach.domain, value);
  if (reach.enforcement !== KvReach_Enforcement.PREFERRED) return { taint, weight: null };
  return { taint, weight: Math.min(1, Math.max(0, reach.preferredWeight ?? 1)) };
}
