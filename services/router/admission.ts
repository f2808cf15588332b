import type { AffinityTarget } from '#core/routing/session-affinity.ts';
import {
  type AdmissionPort,
  AdmissionQueue,
  type ClassReport,
  type Waited,
} from '#core/scheduling/admission/admission-queue.ts';
import { isPrefillBusy, type PolicyProfile } from '#core/scheduling/admission/policy-class.ts';
import type { QueueRejection } from '#core/scheduling/admission/queue-limits.ts';
import type { RouteRequest } from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { RouterClock } from './clock.ts';
import type { Placer } from './placer.ts';
import type { Workers } from './workers.ts';

/** Whether a rank has more prompt tokens in flight than a request's class accepts. */
export type BusyTest = (activePrefillTokens: number, maxBatchedTokens: number) => boolean;

/** A request that asks to be placed, with those who wait for the answer. */
export interface Pending {
  readonly owner: string;
  readonly request: RouteRequest;
  /** The worker that it must wait for, because its session is bound to it for good. */
  readonly target: AffinityTarget | null;
  /** Places it now and answers. Must not throw. */
  place(waited: Waited, isBusy: BusyTest): void;
  refuse(error: StatorError): void;
}

export interface AdmissionOptions extends RouterClock {
  readonly placer: Placer;
  readonly workers: Workers;
  readonly maxWaiting: number;
  /** Milliseconds that a request may wait which says nothing of it; 0: any time. */
  readonly defaultTimeoutMs: number;
  readonly refreshAfterMs: number;
  /** Milliseconds between two looks at the queue when nothing happens. */
  readonly tickMs: number;
  /** Told of every request that the queue refuses or gives up. */
  onRefused(policyClass: string, because: QueueRejection['kind'] | 'timeout' | 'deadline'): void;
  profile(model: string): PolicyProfile;
}

/** An hour: what a client says of its arrival moves a request no further ahead. */
const maxAgeMs = 3_600_000;
const maxLanes = 1024;
const maxDispatches = 256;

/** The admission queue with its clock: wakes it when something may go, or when a request's time is up. */
export class Admission {
  readonly #options: AdmissionOptions;
  readonly #queue: AdmissionQueue<Pending>;
  #callOffTick: (() => void) | undefined;
  #callOffRetry: (() => void) | undefined;
  /** Workers that have room since the queue was last looked at; null: any may have. */
  #freed: Set<bigint> | null = new Set();

  constructor(options: AdmissionOptions) {
    this.#options = options;
    const { maxWaiting, refreshAfterMs } = options;
    this.#queue = new AdmissionQueue(portOf(options), { maxWaiting, maxLanes, maxDispatches, refreshAfterMs });
  }

  /** Requests that wait. */
  get size(): number {
    return this.#queue.size;
  }

  get promptTokens(): number {
    return this.#queue.promptTokens;
  }

  has(owner: string, requestId: string): boolean {
    return this.#queue.has(owner, requestId);
  }

  report(): ClassReport[] {
    return this.#queue.report();
  }

  /** Places the request now, lets it wait, or refuses it: in each case the request is told. */
  submit(pending: Pending): void {
    const { nowMs, wallMs, defaultTimeoutMs } = this.#options;
    const { owner, request, target } = pending;
    const { requestId, model, promptTokens, policyClass, priority, strictPriority, deadlineUnixMs } = request;
    const now = nowMs();
    const ageMs = request.arrivalUnixMs === 0n ? 0 : wallMs() - Number(request.arrivalUnixMs);
    const submitted = this.#queue.submit(
      {
        owner,
        requestId,
        model,
        payload: pending,
        promptTokens,
        policyClass,
        priority,
        arrivedMs: now - Math.min(Math.max(0, ageMs), maxAgeMs),
        strictPriority,
        lane: laneOf(request, target),
        worker: target?.instanceId ?? request.constraints?.instanceId,
        timeoutMs: request.queueTimeoutMs || defaultTimeoutMs,
        deadlineMs: deadlineUnixMs === 0n ? undefined : now + Number(deadlineUnixMs) - wallMs(),
      },
      now,
    );
    if (typeof submitted === 'object') {
      this.#options.onRefused(submitted.policyClass, submitted.kind);
      pending.refuse(rejected(submitted));
    }
    this.#schedule();
  }

  /** Takes back a request that waits and refuses it; false: it does not wait. */
  cancel(owner: string, requestId: string): boolean {
    const cancelled = this.#queue.cancel(owner, requestId);
    if (cancelled === undefined) return false;
    cancelled.refuse(new StatorError('cancelled', 'The request gave up its place in the queue.'));
    this.#schedule();
    return true;
  }

  /** Takes back what an owner has waiting. */
  endOwner(owner: string): Pending[] {
    const ended = this.#queue.endOwner(owner);
    if (ended.length > 0) this.#schedule();
    return ended;
  }

  /** Something changed that waiting requests may go by, on one worker or on any. Looks at them after the current turn. */
  wake(worker?: bigint): void {
    if (this.#queue.size === 0) return;
    if (worker === undefined) this.#freed = null;
    else this.#freed?.add(worker);
    this.#callOffRetry ??= this.#options.soon(() => this.#retry());
  }

  close(): void {
    this.#callOffTick?.();
    this.#callOffRetry?.();
  }

  #retry(): void {
    this.#callOffRetry = undefined;
    const freed = this.#freed;
    this.#freed = new Set();
    const more = this.#queue.retry(this.#options.nowMs(), freed === null ? {} : { workers: freed });
    if (more) this.wake();
    this.#schedule();
  }

  #schedule(): void {
    this.#callOffTick?.();
    this.#callOffTick = undefined;
    if (this.#queue.size === 0) {
      this.#queue.forgetIdle();
      return;
    }
    const { nowMs, tickMs, after } = this.#options;
    const untilExpiryMs = (this.#queue.nextExpiryMs ?? Infinity) - nowMs();
    this.#callOffTick = after(Math.max(1, Math.min(tickMs, Math.ceil(untilExpiryMs))), () => this.#tick());
  }

  #tick(): void {
    this.#queue.expire(this.#options.nowMs());
    this.wake();
    this.#schedule();
  }
}

function portOf({ placer, workers, profile, onRefused }: AdmissionOptions): AdmissionPort<Pending> {
  return {
    profile,
    workers: (model) => workers.model(model)?.workers.size ?? 0,
    allBusy: ({ request, target }, policyClass) =>
      placer.allBusy(request, target, (tokens, batch) => isPrefillBusy(policyClass, tokens, batch)),
    cachedTokens: ({ request }) => placer.bestCachedTokens(request),
    dispatch: (pending, waited) =>
      pending.place(waited, (tokens, batch) => {
        const { classes } = profile(pending.request.model);
        const policyClass = classes.find(({ name }) => name === waited.policyClass);
        return policyClass !== undefined && isPrefillBusy(policyClass, tokens, batch);
      }),
    expired(pending, because, { waitedMs, policyClass }) {
      onRefused(policyClass, because);
      pending.refuse(expired(because, waitedMs, policyClass));
    },
  };
}

/** Requests of one lane may go to the same workers: what decides that, in words. Most say nothing. */
function laneOf({ constraints, adapter }: RouteRequest, target: AffinityTarget | null): string {
  if (target !== null) return `session ${target.instanceId}/${target.dataParallelRank}`;
  if (constraints === undefined) return adapter;
  const { instanceId, dataParallelRank, allowedInstanceIds, excludedInstanceIds, requiredTaints, role } = constraints;
  const parts = [
    instanceId ?? '',
    dataParallelRank ?? '',
    allowedInstanceIds,
    excludedInstanceIds,
    requiredTaints,
    role,
  ];
  return parts.every((part) => part === '' || part === 0 || (Array.isArray(part) && part.length === 0))
    ? adapter
    : [adapter, ...parts].join('|');
}

function rejected({ kind, policyClass, limit, actual }: QueueRejection): StatorError {
  const what = {
    requests: 'requests',
    all_requests: 'requests',
    prompt_tokens: 'prompt tokens',
    cached_tokens: 'cached tokens',
  };
  const message = `Every worker is busy and ${actual} ${what[kind]} wait already, of ${limit} that may.`;
  return new StatorError('overloaded', message, {
    retryAfterMs: 1000,
    facts: { queue: kind, class: policyClass, limit, actual },
  });
}

function expired(because: 'timeout' | 'deadline', waitedMs: number, policyClass: string): StatorError {
  const waited = Math.round(waitedMs);
  const facts = { class: policyClass, waited_ms: waited };
  return because === 'timeout'
    ? new StatorError('queue_timeout', `No worker was free within ${waited} ms.`, { retryAfterMs: 1000, facts })
    : new StatorError('deadline_exceeded', `The request's deadline passed while it waited for a worker.`, { facts });
}
