import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  type BusyThresholds,
  BusyThresholdsSchema,
  type ExplainResponse,
  ExplainResponseSchema,
  type RouteDecision,
  RouteDecisionSchema,
  type RouteRequest,
  type WorkerCost,
  WorkerCostSchema,
} from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { RouterClient, ThresholdsInit } from '../routing/router-client.ts';

type DecisionInit = MessageInitShape<typeof RouteDecisionSchema>;
type CostInit = MessageInitShape<typeof WorkerCostSchema>;

/** A router that decides as a test says and keeps what it is told. */
export class ScriptedRouter implements RouterClient {
  readonly routed: RouteRequest[] = [];
  readonly explained: RouteRequest[] = [];
  readonly finished: string[] = [];
  /** Busy thresholds by model. */
  readonly limits = new Map<string, ThresholdsInit>();
  readonly #decisions: DecisionInit[];
  readonly #costs: WorkerCost[];

  /** Decisions in the order of requests; the last one stands for all that follow. None: no worker can serve any. */
  constructor(decisions: DecisionInit[], costs: CostInit[] = []) {
    this.#decisions = decisions;
    this.#costs = costs.map((cost) => create(WorkerCostSchema, cost));
  }

  async route(request: RouteRequest): Promise<RouteDecision> {
    const decision = this.#decisions[Math.min(this.routed.length, this.#decisions.length - 1)];
    this.routed.push(request);
    if (decision === undefined) throw new StatorError('worker_unavailable', 'none');
    return create(RouteDecisionSchema, { ...decision, costs: request.explain ? this.#costs : [] });
  }

  async explain(request: RouteRequest): Promise<ExplainResponse> {
    this.explained.push(request);
    const [decision] = this.#decisions;
    return create(ExplainResponseSchema, { costs: this.#costs, ...(decision === undefined ? {} : { decision }) });
  }

  async thresholds(model: string, wanted: ThresholdsInit | null): Promise<BusyThresholds> {
    if (wanted !== null) this.limits.set(model, wanted);
    return create(BusyThresholdsSchema, this.limits.get(model) ?? {});
  }

  prefillDone(): void {}

  outputBlock(): void {}

  finish(requestId: string): void {
    this.finished.push(requestId);
  }

  close(): void {}
}
