import { type ConstrainedWorker, type Exclusion, exclusionOf } from '#core/routing/constraints.ts';
import { busyReason, type RankUse, type Thresholds } from '#core/routing/thresholds.ts';
import type { ActiveSequences } from '#core/sequences/active-sequences.ts';
import type { RouteRequest } from '#gen/stator/router/v1/router_pb.ts';
import type { WorkerRank } from './worker-ranks.ts';

type Writable<T> = { -readonly [K in keyof T]: T[K] };

/** Judges the ranks of one decision after another. Its scratch objects are used again for each rank: hundreds are judged. */
export class Eligibility {
  readonly #active: ActiveSequences;
  readonly #subject: Writable<ConstrainedWorker> = {
    instanceId: 0n,
    dataParallelRank: 0,
    state: 0,
    role: 0,
    taints: [],
    lacksAdapter: false,
    inhibited: false,
    busyBecause: null,
  };
  readonly #use: Writable<RankUse> = { activeBlocks: 0, totalBlocks: 0, activePrefillTokens: 0, maxBatchedTokens: 0 };

  constructor(active: ActiveSequences) {
    this.#active = active;
  }

  /** Why a rank may not serve the request; null: it may. */
  exclusion(rank: WorkerRank, request: RouteRequest, thresholds: Thresholds, nowMs: number): Exclusion | null {
    const subject = this.#subject;
    subject.instanceId = rank.instanceId;
    subject.dataParallelRank = rank.dataParallelRank;
    subject.state = rank.state;
    subject.role = rank.role;
    subject.taints = rank.taints;
    subject.lacksAdapter = request.adapter !== '' && !rank.adapters.has(request.adapter);
    subject.inhibited = rank.health.inhibitedUntilMs > nowMs;
    subject.busyBecause = busyReason(this.use(rank, nowMs), thresholds);
    return exclusionOf(subject, request.constraints);
  }

  /** How far a rank is used, by the router's accounts or the worker's report, whichever is higher. Valid until the next call. */
  use(rank: WorkerRank, nowMs: number): RankUse {
    const { slot, health, dataParallelRank, cardBlocks, maxBatchedTokens } = rank;
    const reported = health.loads.get(dataParallelRank);
    const use = this.#use;
    use.activeBlocks = Math.max(this.#active.activeBlocks(slot), reported?.activeBlocks ?? 0);
    use.activePrefillTokens = Math.max(this.#active.activePrefillTokens(slot, nowMs), reported?.prefillTokens ?? 0);
    use.totalBlocks = reported?.totalBlocks || cardBlocks;
    use.maxBatchedTokens = maxBatchedTokens;
    return use;
  }
}
