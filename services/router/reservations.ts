import type { Tracer } from '@opentelemetry/api';
import type { ActiveRequests, Placement } from '#core/sequences/active-requests.ts';
import type { Reannounce, RouteDecision, RouteRequest } from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { RouterMetrics } from './metrics.ts';
import { modeLabel } from './modes.ts';
import type { Placer } from './placement.ts';
import { inRouteSpan } from './route-span.ts';
import type { Workers } from './workers.ts';

export interface ReservationsOptions {
  readonly placer: Placer;
  readonly active: ActiveRequests;
  readonly workers: Workers;
  readonly metrics: RouterMetrics;
  readonly maxReservations: number;
  readonly tracer: Tracer;
  /** Monotonic milliseconds. */
  readonly nowMs: () => number;
}

/** Decisions together with their accounts: every way in which a request is placed, goes on and ends. */
export class Reservations {
  readonly #options: ReservationsOptions;

  constructor(options: ReservationsOptions) {
    this.#options = options;
  }

  /** Places a request for an owner; throws StatorError when it cannot be placed. */
  route(owner: string, request: RouteRequest): RouteDecision {
    return inRouteSpan(this.#options.tracer, request, () => this.#place(owner, request));
  }

  #place(owner: string, request: RouteRequest): RouteDecision {
    const { placer, metrics, nowMs } = this.#options;
    const begun = nowMs();
    const mode = modeLabel(request.mode);
    try {
      this.#refuseDuplicate(owner, request.requestId);
      const { decision, placement } = placer.place(request);
      this.#hold(owner, request.requestId, placement);
      metrics.requests.inc({ mode: modeLabel(decision.mode), outcome: 'placed' });
      return decision;
    } catch (error) {
      metrics.requests.inc({ mode, outcome: StatorError.from(error).code });
      throw error;
    } finally {
      metrics.decisionSeconds.observe((nowMs() - begun) / 1000);
    }
  }

  prefillDone(owner: string, requestId: string): void {
    const { active, metrics } = this.#options;
    if (!active.prefillDone(owner, requestId)) metrics.unknown.inc({ message: 'prefill_done' });
  }

  outputBlock(owner: string, requestId: string, outputTokens: number): void {
    const { active, metrics } = this.#options;
    if (!active.output(owner, requestId, outputTokens)) metrics.unknown.inc({ message: 'output_block' });
  }

  /** Idempotent; a request that is not in flight is only counted. */
  finish(owner: string, requestId: string, workerFailed: boolean): void {
    const { active, metrics, workers } = this.#options;
    const placement = active.finish(owner, requestId);
    if (placement === null) {
      metrics.unknown.inc({ message: 'finish' });
      return;
    }
    if (workerFailed) workers.inhibit(placement.instanceId);
    this.#count(placement.instanceId, placement.dataParallelRank);
  }

  /** Restores a reservation that a gateway still has; one that is in force already stays as it is. */
  reannounce(owner: string, announced: Reannounce): void {
    const { route, instanceId, dataParallelRank, prefillDone, outputTokens } = announced;
    if (route === undefined || this.#options.active.has(owner, route.requestId)) return;
    const { placer, active } = this.#options;
    this.#hold(owner, route.requestId, placer.restored(route, instanceId, dataParallelRank));
    if (prefillDone) active.prefillDone(owner, route.requestId);
    if (outputTokens > 0) active.output(owner, route.requestId, outputTokens);
    this.#count(instanceId, dataParallelRank);
  }

  /** Frees everything of an owner whose stream ended. */
  endOwner(owner: string): void {
    const { active, metrics } = this.#options;
    const freed = active.endOwner(owner);
    if (freed > 0) metrics.freed.inc({ because: 'gateway' }, freed);
    this.#countAll();
  }

  /** Frees everything on a worker that is gone. */
  endWorker(instanceId: bigint): void {
    const { active, metrics } = this.#options;
    const freed = active.endWorker(instanceId);
    if (freed > 0) metrics.freed.inc({ because: 'worker' }, freed);
    this.#countAll();
  }

  #refuseDuplicate(owner: string, requestId: string): void {
    const { active, maxReservations } = this.#options;
    if (requestId === '') throw StatorError.invalid('request_id', 'A request needs an identifier.');
    if (active.has(owner, requestId))
      throw StatorError.invalid('request_id', `The request ${requestId} is in flight already.`);
    if (active.size >= maxReservations)
      throw new StatorError('overloaded', `${active.size} requests are in flight, the most that this router keeps.`, {
        retryAfterMs: 1000,
      });
  }

  #hold(owner: string, requestId: string, placement: Placement): void {
    this.#options.active.place(owner, requestId, placement);
    this.#count(placement.instanceId, placement.dataParallelRank);
  }

  #count(instanceId: bigint, dataParallelRank: number): void {
    const { active, metrics } = this.#options;
    const totals = active.totals(instanceId, dataParallelRank);
    const labels = { worker: instanceId.toString(16), data_parallel_rank: dataParallelRank };
    metrics.activeRequests.set(labels, totals.activeRequests);
    metrics.activePrefillTokens.set(labels, totals.activePrefillTokens);
    metrics.reservations.set(active.size);
  }

  #countAll(): void {
    const { active, metrics, workers } = this.#options;
    metrics.activeRequests.reset();
    metrics.activePrefillTokens.reset();
    metrics.reservations.set(active.size);
    for (const { instanceId, cards } of workers.instances()) {
      const ranks = Math.max(1, ...cards.map((card) => card.parallelism?.data ?? 1));
      for (let rank = 0; rank < ranks; rank++) this.#count(instanceId, rank);
    }
  }
}
