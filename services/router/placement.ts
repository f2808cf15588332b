import { create } from '@bufbuild/protobuf';
import type { ModelSet } from '#core/models/model-sets.ts';
import { roleOf } from '#core/models/model-sets.ts';
import { CandidateTable, type KnownCandidate } from '#core/routing/candidate-table.ts';
import { type Exclusion, exclusionOf, preferenceOf } from '#core/routing/constraints.ts';
import { createPolicy, type PolicyName, policyNames } from '#core/routing/factory.ts';
import { type Cost, explainCosts, type Random, type RoutedPrompt, type RoutingPolicy } from '#core/routing/policy.ts';
import { busyReason, type Thresholds } from '#core/routing/thresholds.ts';
import type { ActiveRequests, Placement } from '#core/sequences/active-requests.ts';
import {
  type RouteDecision,
  RouteDecisionSchema,
  type RouteRequest,
  type WorkerCost,
  WorkerCostSchema,
} from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { modeOfPolicy, policyFor } from './modes.ts';
import type { Workers } from './workers.ts';

export interface PlacerOptions {
  readonly workers: Workers;
  readonly active: ActiveRequests;
  readonly mode: PolicyName;
  readonly random: Random;
  thresholds(model: string): Thresholds;
}

/** A decision with what led to it. */
export interface Placed {
  readonly decision: RouteDecision;
  readonly placement: Placement;
}

interface Considered {
  readonly candidate: KnownCandidate & { readonly dataParallelRank: number };
  readonly exclusion: Exclusion | null;
}

/** Decides where requests go. Decides only: the caller keeps the accounts. */
export class Placer {
  readonly #options: PlacerOptions;
  readonly #policies: ReadonlyMap<PolicyName, RoutingPolicy>;

  constructor(options: PlacerOptions) {
    this.#options = options;
    this.#policies = new Map(policyNames.map((name) => [name, createPolicy(name)]));
  }

  /** Throws StatorError when no worker can serve the request, saying whether it is a matter of time. */
  place(request: RouteRequest): Placed {
    const { name, policy, set, considered } = this.#consider(request);
    const candidates = eligible(considered);
    if (candidates.length === 0) throw refusal(request, considered);
    const { table, prompt } = tabled(request, set, candidates);
    policy.weigh(table, prompt);
    const chosen = candidates[policy.pick(table, prompt, this.#options.random)];
    if (chosen === undefined) throw new StatorError('internal', `The policy ${name} chose no candidate.`);
    const decision = create(RouteDecisionSchema, {
      instanceId: chosen.instanceId,
      dataParallelRank: chosen.dataParallelRank,
      mode: modeOfPolicy[name],
      costs: request.explain ? workerCosts(considered, candidates, explainCosts(policy, table, prompt)) : [],
    });
    return { decision, placement: placementOf(request, set, decision) };
  }

  /** What `place` would weigh; changes nothing. */
  explain(request: RouteRequest): { decision: RouteDecision | undefined; costs: WorkerCost[] } {
    const { name, policy, set, considered } = this.#consider(request);
    const candidates = eligible(considered);
    const { table, prompt } = tabled(request, set, candidates);
    policy.weigh(table, prompt);
    const costs = explainCosts(policy, table, prompt);
    const best = costs.reduce((least, { cost }, index) => (cost < (costs[least]?.cost ?? Infinity) ? index : least), 0);
    const chosen = candidates[best];
    const decision =
      chosen === undefined
        ? undefined
        : create(RouteDecisionSchema, {
            instanceId: chosen.instanceId,
            dataParallelRank: chosen.dataParallelRank,
            mode: modeOfPolicy[name],
          });
    return { decision, costs: workerCosts(considered, candidates, costs) };
  }

  /** Where a request runs that was placed before, for example by this router before it restarted. */
  restored(request: RouteRequest, instanceId: bigint, dataParallelRank: number): Placement {
    const set = this.#options.workers.model(request.model);
    return placementOf(request, set, { instanceId, dataParallelRank });
  }

  #consider(request: RouteRequest) {
    const { workers, mode } = this.#options;
    const set = workers.model(request.model);
    if (set === undefined)
      throw new StatorError('model_not_found', `No worker serves the model \`${request.model}\`.`, { field: 'model' });
    if (!workers.isRoutable(set) && request.constraints?.role === undefined)
      throw new StatorError('not_ready', `The workers of \`${request.model}\` are not complete yet.`, {
        retryAfterMs: 1000,
      });
    const pinned = request.constraints?.instanceId;
    const name = policyFor(request.mode, mode);
    if (name === 'direct' && pinned === undefined)
      throw StatorError.invalid(
        'constraints.instance_id',
        'The direct mode needs the worker that must serve the request.',
      );
    const policy = this.#policies.get(name);
    if (policy === undefined) throw new StatorError('internal', `The policy ${name} does not exist.`);
    return { name, policy, set, considered: this.#candidates(request, set) };
  }

  #candidates(request: RouteRequest, set: ModelSet): Considered[] {
    const { workers, active, thresholds } = this.#options;
    const limits = thresholds(request.model);
    return workers.workersOf(set).flatMap(({ instance, card }) => {
      const { data = 1, dataStartRank = 0 } = card.parallelism ?? {};
      return Array.from({ length: Math.max(1, data) }, (_, offset) => {
        const dataParallelRank = dataStartRank + offset;
        const { instanceId, state } = instance;
        const totals = active.totals(instanceId, dataParallelRank);
        const reported = workers.reported(instanceId, dataParallelRank);
        const activeBlocks = Math.max(totals.activeBlocks, Number(reported?.activeKvBlocks ?? 0n));
        const activePrefillTokens = Math.max(totals.activePrefillTokens, Number(reported?.pendingPrefillTokens ?? 0n));
        const totalBlocks = Number(reported?.totalKvBlocks ?? card.limits?.kvBlocks ?? 0n);
        const maxBatchedTokens = card.limits?.maxBatchedTokens ?? 0;
        const exclusion = exclusionOf(
          {
            instanceId,
            dataParallelRank,
            state,
            role: roleOf(card),
            taints: card.taints,
            lacksAdapter: request.adapter !== '' && !card.adapters.some((adapter) => adapter.name === request.adapter),
            inhibited: workers.isInhibited(instanceId),
            busyBecause: busyReason({ activeBlocks, totalBlocks, activePrefillTokens, maxBatchedTokens }, limits),
          },
          request.constraints,
        );
        const candidate = {
          instanceId,
          dataParallelRank,
          activeRequests: totals.activeRequests,
          activePrefillTokens,
          activeBlocks,
          reportedSequences: (reported?.runningSequences ?? 0) + (reported?.queuedSequences ?? 0),
          preference: preferenceOf(card.taints, request.constraints?.preferredTaints),
        };
        return { candidate, exclusion };
      });
    });
  }
}

/** Who may serve the request. Workers that failed a moment ago are avoided, but better than none. */
function eligible(considered: readonly Considered[]): Considered['candidate'][] {
  const free = considered.filter(({ exclusion }) => exclusion === null);
  const left = free.length > 0 ? free : considered.filter(({ exclusion }) => exclusion?.kind === 'inhibited');
  return left.map(({ candidate }) => candidate);
}

/** Why none is left: busy workers first, since waiting helps; then what the request itself excludes. */
function refusal(request: RouteRequest, considered: readonly Considered[]): StatorError {
  const kinds = new Set(considered.map(({ exclusion }) => exclusion?.kind));
  const reasons = [...new Set(considered.map(({ exclusion }) => exclusion?.reason))].slice(0, 4).join('; ');
  if (kinds.has('busy'))
    return new StatorError('overloaded', `Every worker of \`${request.model}\` is busy: ${reasons}.`, {
      retryAfterMs: 1000,
    });
  const pinned = request.constraints?.instanceId;
  if (pinned !== undefined && considered.every(({ candidate }) => candidate.instanceId !== pinned))
    return new StatorError('not_found', `The worker that the request names does not serve \`${request.model}\`.`, {
      field: 'constraints.instance_id',
    });
  return new StatorError('worker_unavailable', `No worker of \`${request.model}\` can serve the request: ${reasons}.`, {
    retryAfterMs: 1000,
  });
}

function workerCosts(
  considered: readonly Considered[],
  candidates: readonly Considered['candidate'][],
  costs: readonly Cost[],
): WorkerCost[] {
  return considered.map(({ candidate, exclusion }) => {
    const cost = costs[candidates.indexOf(candidate)];
    return create(WorkerCostSchema, {
      instanceId: candidate.instanceId,
      dataParallelRank: candidate.dataParallelRank,
      cost: cost?.cost ?? 0,
      terms: { ...cost?.terms },
      excludedBecause: exclusion?.reason ?? '',
    });
  });
}

function tabled(request: RouteRequest, set: ModelSet, candidates: readonly KnownCandidate[]) {
  const table = new CandidateTable();
  for (const candidate of candidates) table.push(candidate);
  const blockSize = set.card.limits?.kvBlockSize || request.kvBlockSize || 1;
  const prompt: RoutedPrompt = {
    promptTokens: request.promptTokens,
    blockSize,
    blocks: Math.floor(request.promptTokens / blockSize),
  };
  return { table, prompt };
}

function placementOf(
  request: RouteRequest,
  set: ModelSet | undefined,
  where: { readonly instanceId: bigint; readonly dataParallelRank: number },
): Placement {
  const blockSize = set?.card.limits?.kvBlockSize || request.kvBlockSize || 1;
  return {
    instanceId: where.instanceId,
    dataParallelRank: where.dataParallelRank,
    model: request.model,
    prefillTokens: request.promptTokens,
    blocks: Math.ceil(request.promptTokens / blockSize),
    blockSize,
  };
}
