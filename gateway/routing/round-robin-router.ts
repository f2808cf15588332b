import { create } from '@bufbuild/protobuf';
import { InstanceState } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { WorkerRole } from '#gen/stator/model/v1/model_pb.ts';
import {
  type RouteDecision,
  RouteDecisionSchema,
  type RouteRequest,
  RouterMode,
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
    const found = this.#catalog.find(request.model);
    const candidates = [...(found?.entry.workers.values() ?? [])].filter((worker) => this.#serves(worker, request));
    if (candidates.length === 0) {
      throw new StatorError('worker_unavailable', `No worker can serve the model \`${request.model}\` now.`, {
        retryAfterMs: 1000,
      });
    }
    const turn = this.#next.get(request.model) ?? 0;
    this.#next.set(request.model, turn + 1);
    const chosen = candidates[turn % candidates.length] ?? candidates[0];
    return create(RouteDecisionSchema, {
      instanceId: chosen?.instance.instanceId ?? 0n,
      dataParallelRank: request.constraints?.dataParallelRank ?? 0,
      mode: RouterMode.ROUND_ROBIN,
    });
  }

  prefillDone(): void {}

  outputBlock(): void {}

  finish(): void {}

  close(): void {}

  #serves(worker: ModelWorker, request: RouteRequest): boolean {
    const { instance, card } = worker;
    const { constraints } = request;
    const takesWork = instance.state === InstanceState.READY || instance.state === InstanceState.UNSPECIFIED;
    const serves = card.role === WorkerRole.AGGREGATED || card.role === WorkerRole.UNSPECIFIED;
    if (!takesWork || !serves || !this.#isAlive(instance.instanceId)) return false;
    if (request.adapter !== '' && !card.adapters.some((adapter) => adapter.name === request.adapter)) return false;
    if (constraints === undefined) return true;
    if (constraints.instanceId !== undefined && constraints.instanceId !== instance.instanceId) return false;
    if (constraints.excludedInstanceIds.includes(instance.instanceId)) return false;
    const allowed = constraints.allowedInstanceIds;
    if (allowed.length > 0 && !allowed.includes(instance.instanceId)) return false;
    return constraints.requiredTaints.every((taint) => card.taints.includes(taint));
  }
}
