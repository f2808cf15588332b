import { create } from '@bufbuild/protobuf';
import { exclusionOf } from '#core/routing/constraints.ts';
import {
  type BusyThresholds,
  type ExplainResponse,
  ExplainResponseSchema,
  type RouteDecision,
  RouteDecisionSchema,
  type RouteRequest,
  RouterMode,
  type WorkerCost,
  WorkerCostSchema,
} from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { ModelCatalog, ModelWorker } from '../models/catalog.ts';
import type { RouterClient } from './router-client.ts';

/** Chooses workers in turn, without a router: what a gateway falls back to when no router answers. */
export class RoundRobinRouter implements RouterClient {
  readonly #catalog: ModelCatalog;
  readonly #isAlive: (instanceId: bigint) => boolean;
  readonly #next = new Map<string, number>();

  constructor(catalog: ModelCatalog, isAlive: (instanceId: bigint) => boolean) {
    this.#catalog = catalog;
    this.#isAlive = isAlive;
  }

  async route(request: RouteRequest): Promise<RouteDecision> {
    const chosen = this.#inTurn(request);
    if (chosen === undefined) {
      throw new StatorError('worker_unavailable', `No worker can serve the model \`${request.model}\` now.`, {
        retryAfterMs: 1000,
      });
    }
    const costs = request.explain ? this.#costs(request) : [];
    this.#next.set(request.model, this.#turn(request) + 1);
    return this.#decision(request, chosen, costs);
  }

  /** Whose turn it is, and why some workers cannot serve the request. */
  async explain(request: RouteRequest): Promise<ExplainResponse> {
    const chosen = this.#inTurn(request);
    const costs = this.#costs(request);
    const decision = chosen === undefined ? {} : { decision: this.#decision(request, chosen, []) };
    return create(ExplainResponseSchema, { costs, ...decision });
  }

  async thresholds(): Promise<BusyThresholds> {
    const message = 'No router is connected, and busy thresholds are kept by routers.';
    throw new StatorError('not_ready', message, { retryAfterMs: 1000 });
  }

  prefillDone(): void {}

  outputBlock(): void {}

  finish(): void {}

  close(): void {}

  #workers(request: RouteRequest): ModelWorker[] {
    return [...(this.#catalog.find(request.model)?.entry.workers.values() ?? [])];
  }

  #turn(request: RouteRequest): number {
    return this.#next.get(request.model) ?? 0;
  }

  #inTurn(request: RouteRequest): ModelWorker | undefined {
    const candidates = this.#workers(request).filter((worker) => this.#excludedBecause(worker, request) === '');
    return candidates[this.#turn(request) % candidates.length];
  }

  #decision(request: RouteRequest, { instance }: ModelWorker, costs: WorkerCost[]): RouteDecision {
    const dataParallelRank = rankOf(request);
    return create(RouteDecisionSchema, {
      instanceId: instance.instanceId,
      dataParallelRank,
      mode: RouterMode.ROUND_ROBIN,
      costs,
    });
  }

  /** The turns that each worker has to wait; nothing else is known here. */
  #costs(request: RouteRequest): WorkerCost[] {
    const workers = this.#workers(request);
    const reasons = workers.map((worker) => this.#excludedBecause(worker, request));
    const candidates = reasons.filter((reason) => reason === '').length;
    let turns = candidates === 0 ? 0 : -(this.#turn(request) % candidates);
    return workers.map(({ instance: { instanceId } }, index) => {
      const excludedBecause = reasons[index] ?? '';
      const common = { instanceId, dataParallelRank: rankOf(request), prefillTokens: request.promptTokens };
      if (excludedBecause !== '') return create(WorkerCostSchema, { ...common, excludedBecause });
      const cost = turns < 0 ? turns + candidates : turns;
      turns += 1;
      return create(WorkerCostSchema, { ...common, cost, terms: { turns_to_wait: cost } });
    });
  }

  /** Empty: it can serve the request. */
  #excludedBecause(worker: ModelWorker, request: RouteRequest): string {
    const { instance, card } = worker;
    const { instanceId, state } = instance;
    const adapter = request.adapter;
    const lacksAdapter = adapter !== '' && !card.adapters.some(({ name }) => name === adapter);
    // The rank is not checked here: the worker refuses one that it lacks.
    const known = { instanceId, state, role: card.role, taints: card.taints, dataParallelRank: rankOf(request) };
    const health = { lacksAdapter, inhibited: false, busyBecause: null };
    const exclusion = exclusionOf({ ...known, ...health }, request.constraints);
    if (exclusion !== null) return exclusion.reason;
    return this.#isAlive(instanceId) ? '' : 'the gateway has no session with it';
  }
}

function rankOf(request: RouteRequest): number {
  return request.constraints?.dataParallelRank ?? 0;
}
