import type { RouteDecision, RouteRequest } from '#gen/stator/router/v1/router_pb.ts';
import type { RouterMetrics } from './metrics.ts';
import type { Reservations } from './reservations.ts';

/** Owner of reservations made without a session. */
const owner = 'unary';

/** Reservations of callers without a stream: as nothing tells of such a caller's death, each ends by itself after a time. */
export class TimedReservations {
  readonly #reservations: Reservations;
  readonly #metrics: RouterMetrics;
  readonly #ttlMs: number;
  readonly #timers = new Map<string, NodeJS.Timeout>();

  constructor(options: { reservations: Reservations; metrics: RouterMetrics; ttlMs: number }) {
    this.#reservations = options.reservations;
    this.#metrics = options.metrics;
    this.#ttlMs = options.ttlMs;
  }

  get ttlMs(): number {
    return this.#ttlMs;
  }

  /** `signal`: aborted when the caller no longer waits, which gives up a place in the queue. */
  async route(request: RouteRequest, signal?: AbortSignal): Promise<RouteDecision> {
    const giveUp = (): void => this.#reservations.finish(owner, request.requestId, false);
    signal?.addEventListener('abort', giveUp, { once: true });
    const decision = await this.#reservations
      .route(owner, request)
      .finally(() => signal?.removeEventListener('abort', giveUp));
    const timer = setTimeout(() => {
      this.#timers.delete(request.requestId);
      this.#metrics.expired.inc();
      this.#reservations.finish(owner, request.requestId, false);
    }, this.#ttlMs);
    this.#timers.set(request.requestId, timer.unref());
    return decision;
  }

  has(requestId: string): boolean {
    return this.#timers.has(requestId);
  }

  /** Progress is a sign of life: the time begins anew. */
  prefillDone(requestId: string): void {
    this.#timers.get(requestId)?.refresh();
    this.#reservations.prefillDone(owner, requestId);
  }

  outputBlock(requestId: string, outputTokens: number): void {
    this.#timers.get(requestId)?.refresh();
    this.#reservations.outputBlock(owner, requestId, outputTokens);
  }

  finish(requestId: string, workerFailed: boolean): void {
    clearTimeout(this.#timers.get(requestId));
    this.#timers.delete(requestId);
    this.#reservations.finish(owner, requestId, workerFailed);
  }

  close(): void {
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    this.#reservations.endOwner(owner);
  }
}
