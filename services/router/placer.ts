import { create } from '@bufbuild/protobuf';
import type { ModelSet } from '#core/models/model-sets.ts';
import { CandidateTable } from '#core/routing/candidate-table.ts';
import { type Exclusion, preferenceOf } from '#core/routing/constraints.ts';
import type { CostSettings } from '#core/routing/cost-settings.ts';
import { createPolicy, type PolicyName, type PolicySettings, policyNames } from '#core/routing/factory.ts';
import type { Random, RoutingPolicy } from '#core/routing/policy.ts';
import { effectiveCachedTokens } from '#core/routing/prefill-cost.ts';
import type { AffinityTarget } from '#core/routing/session-affinity.ts';
import type { Thresholds } from '#core/routing/thresholds.ts';
import type { ActiveSequences } from '#core/sequences/active-sequences.ts';
import type { SequenceRequest } from '#core/sequences/sequence-request.ts';
import { WorkerRole } from '#gen/stator/model/v1/model_pb.ts';
import {
  type RouteDecision,
  RouteDecisionSchema,
  type RouteRequest,
  type WorkerCost,
  WorkerCostSchema,
} from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { BusyTest } from './admission.ts';
import { Eligibility } from './eligibility.ts';
import type { KvOverlap } from './kv-overlap.ts';
import type { RouterMetrics } from './metrics.ts';
import { modeOfPolicy, policyFor, type StageModes } from './modes.ts';
import { type AccountDefaults, promptOf, type RequestedPrompt, sequenceOf } from './prompt.ts';
import { noneEligible, notServed } from './refusals.ts';
import { blocksOf } from './shared-cache.ts';
import type { WorkerRank } from './worker-ranks.ts';
import type { Workers } from './workers.ts';

export interface PlacerOptions {
  readonly workers: Workers;
  readonly active: ActiveSequences;
  readonly overlap: KvOverlap;
  readonly modes: StageModes;
  /** What holds for requests that do not say otherwise. */
  readonly accounting: AccountDefaults;
  readonly policies: PolicySettings & { readonly cost: CostSettings };
  readonly random: Random;
  readonly metrics: Pick<RouterMetrics, 'stageSeconds'>;
  /** Monotonic milliseconds. */
  readonly nowMs: () => number;
  thresholds(model: string): Thresholds;
}

/** A decision with what led to it. */
export interface Placed {
  readonly decision: RouteDecision;
  readonly rank: WorkerRank;
  /** What the accounts hold for it. */
  readonly sequence: SequenceRequest;
  /** Most blocks that any candidate had on its device. */
  readonly bestDeviceBlocks: number;
  /** Blocks of the prompt in the cache that all workers share; null: there is none. */
  readonly sharedBlocks: number | null;
  /** KV blocks that requests hold there, this one included. */
  readonly blocks: number;
}

interface Weighed {
  readonly name: PolicyName;
  readonly policy: RoutingPolicy;
  readonly set: ModelSet;
  readonly ranks: readonly WorkerRank[];
  readonly prompt: RequestedPrompt;
}

/** Decides where requests go. Decides only: the caller keeps the accounts. */
export class Placer {
  readonly #options: PlacerOptions;
  readonly #policies: ReadonlyMap<PolicyName, RoutingPolicy>;
  readonly #eligibility: Eligibility;
  /** Candidates of the decision at hand, and which of the model's ranks each row is. */
  readonly #table = new CandidateTable();
  readonly #rows: number[] = [];
  #sharedOfSlot = new Uint32Array(64);

  constructor(options: PlacerOptions) {
    this.#options = options;
    this.#policies = new Map(policyNames.map((name) => [name, createPolicy(name, options.policies)]));
    this.#eligibility = new Eligibility(options.active);
  }

  /**
   * Chooses a worker; `target`: the one that the request's session is bound to. Throws StatorError when none can serve the
   * request, saying whether it is a matter of time.
   */
  place(request: RouteRequest, target: AffinityTarget | null = null): Placed {
    const weighed = this.#weigh(request, target);
    if (this.#table.count === 0) throw noneEligible(request, this.#exclusions(request, weighed.ranks));
    const { policy, prompt, ranks, name } = weighed;
    const row = policy.pick(this.#table, prompt, this.#options.random);
    const index = this.#rows[row];
    const rank = index === undefined ? undefined : ranks[index];
    if (index === undefined || rank === undefined)
      throw new StatorError('internal', `The policy ${name} chose no candidate.`);
    const hits = this.#options.overlap.hits(index);
    const cachedTokens = effectiveCachedTokens(hits, prompt, this.#options.policies.cost);
    const decision = create(RouteDecisionSchema, {
      instanceId: rank.instanceId,
      dataParallelRank: rank.dataParallelRank,
      role: rank.role,
      mode: modeOfPolicy[name],
      overlapTokens: cachedTokens,
      promptBlocks: prompt.blocks,
      ...hits,
      sharedBlocks: this.#table.sharedBlocks[row] ?? 0,
      bySession: target !== null,
      costs: request.explain ? this.#costs(request, weighed) : [],
    });
    const sequence = { ...sequenceOf(request, prompt, this.#options.accounting), slot: rank.slot, cachedTokens };
    return {
      decision,
      rank,
      sequence,
      blocks: (this.#table.activeBlocks[row] ?? 0) + (this.#table.newBlocks[row] ?? 0),
      bestDeviceBlocks: this.#bestDeviceBlocks(),
      sharedBlocks: this.#options.overlap.sharedBlocks,
    };
  }

  /** What `place` would weigh and, chance aside, choose; changes nothing. */
  explain(
    request: RouteRequest,
    target: AffinityTarget | null = null,
  ): { decision: RouteDecision | undefined; costs: WorkerCost[] } {
    const weighed = this.#weigh(request, target);
    const costs = this.#costs(request, weighed);
    if (this.#table.count === 0) return { decision: undefined, costs };
    let best = 0;
    for (let row = 1; row < this.#table.count; row++)
      if ((this.#table.costs[row] ?? Infinity) < (this.#table.costs[best] ?? Infinity)) best = row;
    const index = this.#rows[best] ?? 0;
    const rank = weighed.ranks[index];
    const hits = this.#options.overlap.hits(index);
    const decision = create(RouteDecisionSchema, {
      instanceId: rank?.instanceId ?? 0n,
      dataParallelRank: rank?.dataParallelRank ?? 0,
      role: rank?.role ?? WorkerRole.UNSPECIFIED,
      mode: modeOfPolicy[weighed.name],
      overlapTokens: effectiveCachedTokens(hits, weighed.prompt, this.#options.policies.cost),
      promptBlocks: weighed.prompt.blocks,
      ...hits,
      sharedBlocks: this.#table.sharedBlocks[best] ?? 0,
      bySession: target !== null,
    });
    return { decision, costs };
  }

  /** KV blocks of the chosen rank: with the request, and at all (0: not told). */
  blocksWith({ rank, blocks }: Placed): { readonly blocks: number; readonly totalBlocks: number } {
    const reported = rank.health.loads.get(rank.dataParallelRank);
    return { blocks, totalBlocks: reported?.totalBlocks || rank.cardBlocks };
  }

  /** Prompt tokens that the chosen rank has to compute already, and what it computes in one pass. */
  prefillOf({ rank }: Placed): { readonly activeTokens: number; readonly maxBatchedTokens: number } {
    const { active, nowMs } = this.#options;
    return { activeTokens: active.activePrefillTokens(rank.slot, nowMs()), maxBatchedTokens: rank.maxBatchedTokens };
  }

  /** Requests placed on the workers of one role. */
  requestsOf(model: string, role: WorkerRole): number {
    const { workers, active } = this.#options;
    const set = workers.model(model);
    const ranks = set === undefined ? [] : workers.ranksOf(set);
    return ranks.reduce((sum, rank) => sum + (rank.role === role ? active.activeRequests(rank.slot) : 0), 0);
  }

  /** What the accounts hold for a request that was placed before, for example by this router before it restarted. */
  restored(request: RouteRequest, instanceId: bigint, dataParallelRank: number): SequenceRequest {
    const { workers, accounting } = this.#options;
    const set = workers.model(request.model);
    const slot = workers.slots.slotOf(instanceId, dataParallelRank);
    if (set === undefined) {
      const blockSize = request.kvBlockSize || 1;
      const prompt = { promptTokens: request.promptTokens, blockSize, blocks: 0, hashes: request.sequenceHashes };
      return { ...sequenceOf(request, prompt, accounting), slot, cachedTokens: 0 };
    }
    return { ...sequenceOf(request, promptOf(request, set), accounting), slot, cachedTokens: 0 };
  }

  /** Whether each rank that may serve the request has more prompt tokens to compute than a limit allows. False: there is none. */
  allBusy(request: RouteRequest, target: AffinityTarget | null, isBusy: BusyTest): boolean {
    const { workers, thresholds, nowMs, active } = this.#options;
    const set = workers.model(request.model);
    if (set === undefined) return false;
    const now = nowMs();
    const limits = thresholds(request.model);
    let eligible = false;
    for (const rank of workers.ranksOf(set)) {
      if (target !== null && !isTarget(rank, target)) continue;
      if (this.#eligibility.exclusion(rank, request, limits, now) !== null) continue;
      if (!isBusy(active.activePrefillTokens(rank.slot, now), rank.maxBatchedTokens)) return false;
      eligible = true;
    }
    return eligible;
  }

  /** Prompt tokens that the worker with the most of them has cached. */
  bestCachedTokens(request: RouteRequest): number {
    const { workers, overlap, policies } = this.#options;
    const set = workers.model(request.model);
    if (set === undefined) return 0;
    const prompt = promptOf(request, set);
    const ranks = workers.ranksOf(set);
    overlap.match(ranks, prompt.hashes);
    return ranks.reduce(
      (most, _, index) => Math.max(most, effectiveCachedTokens(overlap.hits(index), prompt, policies.cost)),
      0,
    );
  }

  /**
   * Why a worker cannot serve a request; null: it can. Being busy passes by itself and is a reason only for a request that
   * would rather go elsewhere: it has a test of its class for it.
   */
  cannotServe(request: RouteRequest, target: AffinityTarget, isBusy: BusyTest | null): string | null {
    const { workers, thresholds, nowMs, active } = this.#options;
    const set = workers.model(request.model);
    const rank = set === undefined ? undefined : workers.ranksOf(set).find((known) => isTarget(known, target));
    if (rank === undefined) return 'it is gone';
    const now = nowMs();
    const limits = isBusy === null ? {} : thresholds(request.model);
    const reason = this.#eligibility.exclusion(rank, request, limits, now)?.reason ?? null;
    const tooMuch = isBusy?.(active.activePrefillTokens(rank.slot, now), rank.maxBatchedTokens) ?? false;
    return reason ?? (tooMuch ? 'requests for it would wait' : null);
  }

  #weigh(request: RouteRequest, target: AffinityTarget | null): Weighed {
    const { workers, modes, overlap, metrics, nowMs } = this.#options;
    const set = workers.model(request.model);
    if (set === undefined || (!workers.isRoutable(set) && request.constraints?.role === undefined))
      throw notServed(request, set !== undefined);
    const name = policyFor(request, modes);
    if (name === 'direct' && request.constraints?.instanceId === undefined)
      throw StatorError.invalid(
        'constraints.instance_id',
        'The direct mode needs the worker that must serve the request.',
      );
    const policy = this.#policies.get(name);
    if (policy === undefined) throw new StatorError('internal', `The policy ${name} does not exist.`);
    const ranks = workers.ranksOf(set);
    const prompt = promptOf(request, set);
    const begun = nowMs();
    overlap.match(ranks, prompt.hashes);
    const matched = nowMs();
    this.#fill(request, target, ranks, prompt);
    policy.weigh(this.#table, prompt);
    metrics.stageSeconds.observe({ stage: 'match' }, (matched - begun) / 1000);
    metrics.stageSeconds.observe({ stage: 'weigh' }, (nowMs() - matched) / 1000);
    return { name, policy, set, ranks, prompt };
  }

  /** Who may serve the request, with what is known of them. Workers that failed a moment ago are avoided, but better than none. */
  #fill(
    request: RouteRequest,
    target: AffinityTarget | null,
    ranks: readonly WorkerRank[],
    prompt: RequestedPrompt,
  ): void {
    const { active, thresholds, nowMs, workers, accounting } = this.#options;
    const now = nowMs();
    const limits = thresholds(request.model);
    const inhibited: number[] = [];
    this.#table.clear();
    this.#rows.length = 0;
    if (this.#sharedOfSlot.length < workers.slots.capacity)
      this.#sharedOfSlot = new Uint32Array(workers.slots.capacity * 2);
    const blocks = active.potentialBlocks(sequenceOf(request, prompt, accounting), this.#sharedOfSlot);
    for (const [index, rank] of ranks.entries()) {
      if (target !== null && !isTarget(rank, target)) continue;
      const exclusion = this.#eligibility.exclusion(rank, request, limits, now);
      if (exclusion === null) this.#add(index, rank, request, blocks, now);
      else if (exclusion.kind === 'inhibited') inhibited.push(index);
    }
    if (this.#rows.length > 0) return;
    for (const index of inhibited) {
      const rank = ranks[index];
      if (rank !== undefined) this.#add(index, rank, request, blocks, now);
    }
  }

  #add(index: number, rank: WorkerRank, request: RouteRequest, blocks: number, nowMs: number): void {
    const { active, overlap } = this.#options;
    const { slot, health, dataParallelRank } = rank;
    const table = this.#table;
    const row = table.add(rank.instanceId, dataParallelRank, slot);
    this.#rows.push(index);
    table.activeRequests[row] = active.activeRequests(slot);
    table.reportedSequences[row] = health.loads.get(dataParallelRank)?.sequences ?? 0;
    table.activePrefillTokens[row] = active.activePrefillTokens(slot, nowMs);
    table.activeBlocks[row] = active.activeBlocks(slot);
    table.activeTokens[row] = active.activeTokens(slot);
    table.deviceWeight[row] = rank.deviceWeight;
    table.newBlocks[row] = blocks - (this.#sharedOfSlot[slot] ?? 0);
    table.preference[row] = preferenceOf(rank.taints, request.constraints?.preferredTaints);
    overlap.write(index, table, row);
  }

  #bestDeviceBlocks(): number {
    let best = 0;
    for (let row = 0; row < this.#table.count; row++) best = Math.max(best, this.#table.deviceBlocks[row] ?? 0);
    return best;
  }

  #exclusions(
    request: RouteRequest,
    ranks: readonly WorkerRank[],
  ): { rank: WorkerRank; exclusion: Exclusion | null }[] {
    const { thresholds, nowMs } = this.#options;
    const limits = thresholds(request.model);
    return ranks.map((rank) => ({ rank, exclusion: this.#eligibility.exclusion(rank, request, limits, nowMs()) }));
  }

  #costs(request: RouteRequest, { ranks, policy, prompt }: Weighed): WorkerCost[] {
    const { overlap, policies } = this.#options;
    const rowOf = new Map(this.#rows.map((index, row) => [index, row]));
    return this.#exclusions(request, ranks).map(({ rank, exclusion }, index) => {
      const row = rowOf.get(index);
      const hits = overlap.hits(index);
      return create(WorkerCostSchema, {
        instanceId: rank.instanceId,
        dataParallelRank: rank.dataParallelRank,
        ...hits,
        sharedBlocks: Math.max(0, (overlap.sharedBlocks ?? 0) - blocksOf(hits)),
        prefillTokens: prompt.promptTokens - effectiveCachedTokens(hits, prompt, policies.cost),
        ...(row === undefined
          ? { excludedBecause: exclusion?.reason ?? 'the session is bound to another worker' }
          : { cost: this.#table.costs[row] ?? 0, terms: policy.terms(this.#table, prompt, row) }),
      });
    });
  }
}

function isTarget(rank: WorkerRank, target: AffinityTarget): boolean {
  return rank.instanceId === target.instanceId && rank.dataParallelRank === target.dataParallelRank;
}
