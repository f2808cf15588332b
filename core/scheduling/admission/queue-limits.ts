import type { ClassStats } from './class-queue.ts';
import type { PolicyClass } from './policy-class.ts';

/** Why a request may not wait. */
export interface QueueRejection {
  readonly kind: 'requests' | 'prompt_tokens' | 'cached_tokens' | 'all_requests';
  readonly policyClass: string;
  readonly limit: number;
  /** What waits already. */
  readonly actual: number;
}

/**
 * Which limit of its class keeps a request from waiting; null: none. Limits are multiplied by the number of workers and
 * hold against what waits already, so that a single request of any size can wait.
 */
export function rejectionBy(
  policyClass: PolicyClass,
  stats: Readonly<ClassStats>,
  workers: number,
): QueueRejection | null {
  const checks = [
    { kind: 'requests', actual: stats.requests, perWorker: policyClass.requestLimitPerWorker },
    { kind: 'prompt_tokens', actual: stats.promptTokens, perWorker: policyClass.promptTokenLimitPerWorker },
    { kind: 'cached_tokens', actual: stats.cachedTokens, perWorker: policyClass.cachedTokenLimitPerWorker },
  ] as const;
  for (const { kind, actual, perWorker } of checks) {
    if (perWorker === undefined) continue;
    const limit = perWorker * workers;
    if (actual >= limit) return { kind, policyClass: policyClass.name, limit, actual };
  }
  return null;
}
