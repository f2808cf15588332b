import { create } from '@bufbuild/protobuf';
import type { Tracer } from '@opentelemetry/api';
import type { AffinityTarget } from '#core/routing/session-affinity.ts';
import type { Waited } from '#core/scheduling/admission/admission-queue.ts';
import type { ActiveSequences } from '#core/sequences/active-sequences.ts';
import {
  type ExplainResponse,
  ExplainResponseSchema,
  type Reannounce,
  type RouteDecision,
  type RouteRequest,
} from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { Admission, BusyTest } from './admission.ts';
import type { Disaggregation } from './disaggregation.ts';
import { type Held, HeldRequests } from './held.ts';
import type { KvOverlap } from './kv-overlap.ts';
import type { RouterMetrics } from './metrics.ts';
import { modeLabel } from './modes.ts';
import { Observed } from './observed.ts';
import type { ReservationObserver } from './peers/ports.ts';
import type { Placed, Placer } from './placer.ts';
import { tooFewWorkers } from './refusals.ts';
import { RouteSpan } from './route-span.ts';
import type { Sessions } from './sessions.ts';
import type { Workers } from './workers.ts';

export interface ReservationsOptions {
  readonly placer: Placer;
  readonly admission: Admission;
  readonly active: ActiveSequences;
  readonly sessions: Sessions;
  readonly disaggregation: Disaggregation;
  readonly workers: Workers;
  readonly overlap: KvOverlap;
  readonly metrics: RouterMetrics;
  readonly maxReservations: number;
  readonly tracer: Tracer;
  /** Monotonic milliseconds. */
  readonly nowMs: () => number;
}

/** A request that is only asked about does not wait for prefills to end. */
const neverTooMuch: BusyTest = () => false;

/** Decisions together with their accounts: every way in which a request is placed, goes on and ends. */
export class Reservations {
  readonly #options: ReservationsOptions;
  readonly #held = new HeldRequests();
  readonly #gateways = new Map<string, string>();
  readonly #observed: Observed;
  #observer: ReservationObserver | null = null;

  constructor(options: ReservationsOptions) {
    this.#options = options;
    this.#observed = new Observed(options.metrics);
  }

  /** Tells another part of every reservation from now on. */
  observe(observer: ReservationObserver): void {
    this.#observer = observer;
  }

  /** Says whose requests an owner's are. */
  openOwner(owner: string, gatewayId: string): void {
    this.#gateways.set(owner, gatewayId);
  }

  /** Places a request for an owner, at once or after it waited; rejects with a StatorError when it cannot be placed. */
  async route(owner: string, asked: RouteRequest): Promise<RouteDecision> {
    const { metrics, nowMs, tracer, admission, sessions, workers, disaggregation } = this.#options;
    const begun = nowMs();
    const span = new RouteSpan(tracer, asked);
    try {
      const queueDepth = admission.size;
      if (!workers.isReady) throw tooFewWorkers(workers.size, workers.minInitial);
      this.#refuseDuplicate(owner, asked.requestId);
      sessions.check(asked);
      const { request, decision: stages } = disaggregation.settle(asked);
      // A soft session waits like any other request, and looks for its worker when it may go.
      const target = sessions.areHard ? this.#targetOf(request, null) : null;
      const { placed, waited } = await this.#admit(owner, request, target, span, begun);
      const { decision } = placed;
      decision.queueUs = waited.queued ? Math.min(0xffff_ffff, Math.round(waited.waitedMs * 1000)) : 0;
      decision.queueDepth = queueDepth;
      if (stages !== null) {
        decision.disaggregation = stages;
        this.#observed.split(stages);
      }
      span.placed(decision, decision.costs);
      if (!request.explain) decision.costs = [];
      metrics.requests.inc({ mode: modeLabel(decision.mode), outcome: 'placed' });
      if (waited.queued) metrics.queueSeconds.observe({ class: waited.policyClass }, waited.waitedMs / 1000);
      else metrics.decisionSeconds.observe((nowMs() - begun) / 1000);
      return decision;
    } catch (thrown) {
      span.refused(thrown);
      metrics.requests.inc({ mode: modeLabel(asked.mode), outcome: StatorError.from(thrown).code });
      throw thrown;
    }
  }

  /**
   * What `route` would answer if the request need not wait, and what every worker would cost; changes nothing. Throws
   * StatorError for a model that is not served and for a session whose worker cannot serve it.
   */
  explain(asked: RouteRequest): ExplainResponse {
    const { sessions, placer, disaggregation } = this.#options;
    sessions.check(asked);
    const { request, decision: stages } = disaggregation.settle(asked);
    const { decision, costs } = placer.explain(request, this.#targetOf(request, neverTooMuch));
    if (decision !== undefined && stages !== null) decision.disaggregation = stages;
    return create(ExplainResponseSchema, { costs, ...(decision === undefined ? {} : { decision }) });
  }

  prefillDone(owner: string, requestId: string): void {
    const { active, metrics, nowMs, admission } = this.#options;
    const now = nowMs();
    if (!active.prefillDone(owner, requestId, now)) {
      metrics.unknown.inc({ message: 'prefill_done' });
      return;
    }
    this.#observer?.prefillDone(owner, requestId);
    const held = this.#held.get(owner, requestId);
    if (held !== undefined) this.#observed.firstToken(held, now);
    admission.wake(held?.instanceId);
  }

  outputBlock(owner: string, requestId: string, outputTokens: number): void {
    const { active, metrics, nowMs } = this.#options;
    const now = nowMs();
    if (!active.output(owner, requestId, outputTokens, now)) {
      metrics.unknown.inc({ message: 'output_block' });
      return;
    }
    const held = this.#held.get(owner, requestId);
    if (held !== undefined) this.#observed.output(held, now);
  }

  /** Idempotent. A request that waits gives up its place; one that neither waits nor runs is only counted. */
  finish(owner: string, requestId: string, workerFailed: boolean): void {
    const { active, metrics, workers, admission, sessions, nowMs } = this.#options;
    if (admission.cancel(owner, requestId)) return;
    const ended = active.finish(owner, requestId, nowMs());
    if (ended === null) {
      metrics.unknown.inc({ message: 'finish' });
      return;
    }
    const held = this.#held.take(owner, requestId);
    this.#observer?.finished(owner, requestId);
    if (held !== undefined) {
      this.#endUse(held);
      this.#observed.ended(held, ended.outputTokens);
      if (workerFailed) workers.inhibit(held.instanceId);
      if (workerFailed || held.request.sessionFinal) sessions.drop(held.request, held);
    }
    admission.wake(held?.instanceId);
  }

  /** Restores a reservation that a gateway still has; one that is in force already stays as it is. */
  reannounce(owner: string, announced: Reannounce): void {
    const { placer, active } = this.#options;
    const { route, instanceId, dataParallelRank, overlapTokens } = announced;
    if (route === undefined || active.has(owner, route.requestId)) return;
    // A router that just started may hear of a request before it hears of the request's worker.
    const sequence = { ...placer.restored(route, instanceId, dataParallelRank), cachedTokens: overlapTokens };
    this.#book(owner, route.requestId, sequence, announced);
    this.#hold(owner, { request: route, instanceId, dataParallelRank, overlapTokens, times: null });
  }

  /** A reservation as replicas and people may be told of it; undefined: it is not in force. */
  describe(owner: string, requestId: string): Omit<Reannounce, '$typeName' | 'gatewayId'> | undefined {
    const running = this.#options.active.get(owner, requestId);
    const held = this.#held.get(owner, requestId);
    if (running === undefined || held === undefined) return undefined;
    const { request: route, instanceId, dataParallelRank, overlapTokens } = held;
    const { prefillDone, outputTokens } = running;
    return { route, instanceId, dataParallelRank, overlapTokens, prefillDone, outputTokens };
  }

  /** Books what a replica placed; nobody is told. False: its worker is not known. */
  bookOfPeer(owner: string, requestId: string, announced: Reannounce): boolean {
    const { placer, active, workers } = this.#options;
    const { route, instanceId, dataParallelRank, overlapTokens } = announced;
    if (route === undefined || !workers.has(instanceId)) return false;
    if (active.has(owner, requestId)) return true;
    const sequence = { ...placer.restored(route, instanceId, dataParallelRank), cachedTokens: overlapTokens };
    this.#book(owner, requestId, sequence, announced);
    return true;
  }

  /** Ends a reservation, a replica's or one that its gateway holds elsewhere by now; nobody is told. */
  drop(owner: string, requestId: string): void {
    const { active, admission, nowMs } = this.#options;
    const ended = active.finish(owner, requestId, nowMs());
    const held = this.#held.take(owner, requestId);
    if (held !== undefined) this.#endUse(held);
    if (ended !== null) admission.wake();
  }

  /** Progress of a replica's reservation. */
  progressOfPeer(owner: string, requestId: string, outputTokens: number | null): void {
    const { active, nowMs } = this.#options;
    if (outputTokens === null) active.prefillDone(owner, requestId, nowMs());
    else active.output(owner, requestId, outputTokens, nowMs());
  }

  /** Frees everything of an owner whose stream ended. */
  endOwner(owner: string): void {
    const { active, metrics, admission, nowMs } = this.#options;
    const gone = new StatorError('cancelled', 'The session of the request ended.');
    for (const pending of admission.endOwner(owner)) pending.refuse(gone);
    const freed = active.endOwner(owner, nowMs());
    for (const held of this.#held.takeOwner(owner)) this.#endUse(held);
    this.#gateways.delete(owner);
    this.#observer?.ownerEnded(owner);
    if (freed > 0) metrics.freed.inc({ because: 'gateway' }, freed);
    admission.wake();
  }

  /** Frees everything on a worker that is gone. */
  endWorker(instanceId: bigint, slots: readonly number[]): void {
    const { active, metrics, sessions, admission, nowMs } = this.#options;
    const placed = [...this.#held.onWorker(instanceId)];
    let freed = 0;
    for (const slot of slots) freed += active.endSlot(slot, nowMs());
    for (const { owner, requestId } of placed) {
      this.#held.take(owner, requestId)?.use?.end(nowMs());
      this.#observer?.finished(owner, requestId);
    }
    sessions.dropWorker(instanceId);
    if (freed > 0) metrics.freed.inc({ because: 'worker' }, freed);
    admission.wake();
  }

  /** A session is bound no longer to a worker that a gateway announced and that has not come, or is gone. */
  #endUse({ use, request, instanceId, dataParallelRank }: Held): void {
    const { sessions, workers, nowMs } = this.#options;
    use?.end(nowMs());
    if (!workers.has(instanceId)) sessions.drop(request, { instanceId, dataParallelRank });
  }

  /** Waits in the queue if it must, is placed and booked. */
  #admit(
    owner: string,
    request: RouteRequest,
    target: AffinityTarget | null,
    span: RouteSpan,
    arrivedMs: number,
  ): Promise<{ placed: Placed; waited: Waited }> {
    const explained = span.isRecording && !request.explain ? { ...request, explain: true } : request;
    return new Promise((resolve, reject) => {
      this.#options.admission.submit({
        owner,
        request,
        target,
        refuse: reject,
        place: (waited, isBusy) => {
          try {
            // While it waited its session may have been bound, or have lost its worker.
            const { placer, sessions } = this.#options;
            const current = sessions.areHard && !waited.queued ? target : this.#targetOf(request, isBusy);
            const placed = placer.place(explained, current);
            this.#settle(owner, request, placed, arrivedMs);
            resolve({ placed, waited });
          } catch (thrown) {
            reject(thrown instanceof Error ? thrown : StatorError.from(thrown));
          }
        },
      });
    });
  }

  #settle(owner: string, request: RouteRequest, placed: Placed, arrivedMs: number): void {
    const { overlap, metrics, nowMs } = this.#options;
    const { decision, rank, sequence } = placed;
    const { instanceId, dataParallelRank } = rank;
    const begun = nowMs();
    this.#book(owner, request.requestId, sequence, null);
    this.#hold(owner, {
      ...{ request, instanceId, dataParallelRank, overlapTokens: decision.overlapTokens },
      times: { arrivedMs, firstTokenMs: null, lastOutputMs: null },
    });
    this.#observed.placed(request, placed);
    const { sequenceHashes: hashes, kvBlockSize: blockSize, adapter } = request;
    if (hashes.length > 0) overlap.routed(rank, { hashes, blockSize, salted: adapter !== '' }, decision);
    metrics.stageSeconds.observe({ stage: 'book' }, (nowMs() - begun) / 1000);
  }

  #hold(owner: string, booked: Omit<Held, 'use'>): void {
    const { sessions } = this.#options;
    const { request, instanceId, dataParallelRank } = booked;
    const use = sessions.use(request, { instanceId, dataParallelRank });
    this.#held.set(owner, request.requestId, { ...booked, use });
    this.#observer?.placed(owner, this.#gateways.get(owner) ?? '', request.requestId);
    const binding = sessions.binding(request);
    if (binding !== undefined) this.#observer?.sessionBound(binding);
  }

  #book(
    owner: string,
    requestId: string,
    sequence: Parameters<ActiveSequences['add']>[2],
    progress: Pick<Reannounce, 'prefillDone' | 'outputTokens'> | null,
  ): void {
    const { active, nowMs } = this.#options;
    active.add(owner, requestId, sequence, nowMs());
    if (progress?.prefillDone === true) active.prefillDone(owner, requestId, nowMs());
    if (progress !== null && progress.outputTokens > 0) active.output(owner, requestId, progress.outputTokens, nowMs());
  }

  #targetOf(request: RouteRequest, isBusy: BusyTest | null): AffinityTarget | null {
    const { sessions, placer } = this.#options;
    return sessions.target(request, (target) => placer.cannotServe(request, target, sessions.areHard ? null : isBusy));
  }

  #refuseDuplicate(owner: string, requestId: string): void {
    const { active, admission, maxReservations } = this.#options;
    if (requestId === '') throw StatorError.invalid('request_id', 'A request needs an identifier.');
    if (active.has(owner, requestId) || admission.has(owner, requestId))
      throw StatorError.invalid('request_id', `The request ${requestId} is in flight already.`);
    if (active.size >= maxReservations)
      throw new StatorError('overloaded', `${active.size} requests are in flight, the most that this router keeps.`, {
        retryAfterMs: 1000,
        facts: { limit: maxReservations, actual: active.size },
      });
  }
}
