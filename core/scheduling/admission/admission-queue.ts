import { IndexedHeap } from '../indexed-heap.ts';
import type { ClassStats } from './class-queue.ts';
import { type ClassStanding, ModelQueue, type QueuePosition } from './model-queue.ts';
import { canWait, classFor, type PickedClass, type PolicyClass, type PolicyProfile } from './policy-class.ts';
import { type QueueRejection, rejectionBy } from './queue-limits.ts';
import { type AdmissionRequest, policyScore, type Waiting } from './waiting.ts';

/** What the queue asks of and tells the router. */
export interface AdmissionPort<T> {
  profile(model: string): PolicyProfile;
  /** Workers of the model, by which limits for each worker are multiplied. */
  workers(model: string): number;
  /** Whether every worker that may serve the request is busy by the class's thresholds. False if there is none: placing it says why. */
  allBusy(payload: T, policyClass: PolicyClass): boolean;
  /** Prompt tokens that the best worker for the request has cached. Asked at most once for each request. */
  cachedTokens(payload: T): number;
  /** Places the request now, or refuses it for good. Must not throw. */
  dispatch(payload: T, waited: Waited): void;
  /** The request leaves unserved because its time has passed. */
  expired(payload: T, because: 'timeout' | 'deadline', waited: Waited): void;
}

export interface Waited {
  readonly policyClass: string;
  readonly queued: boolean;
  readonly waitedMs: number;
  /** Whether it waited so long that what was known of its overlap with caches is out of date. */
  readonly overlapIsStale: boolean;
}

export interface AdmissionLimits {
  /** Most requests that wait, over all models. */
  readonly maxWaiting: number;
  /** Most sets of workers in a class that are looked at on their own. */
  readonly maxLanes: number;
  /** Most requests dispatched in one call, so that a flood does not hold up everything else. */
  readonly maxDispatches: number;
  /** Milliseconds of waiting after which the overlap with caches is out of date. */
  readonly refreshAfterMs: number;
}

/** What became of a request: the port was told to dispatch it or that its time has passed, it waits, or it is rejected. */
export type Submitted = 'dispatched' | 'expired' | 'waiting' | QueueRejection;

/** What changed since the queue was looked at. Unset: anything. */
export interface Changed {
  readonly model?: string | undefined;
  /** Requests that may use only other workers are not looked at. */
  readonly workers?: ReadonlySet<bigint> | undefined;
}

/** What waits in a class of a model. */
export interface ClassReport extends ClassStanding {
  readonly model: string;
}

const nothing: Readonly<ClassStats> = { requests: 0, promptTokens: 0, cachedTokens: 0 };

/**
 * Holds requests back while every worker that may serve them is busy, and lets them go in the order of their classes. A
 * request that need not wait is dispatched before `submit` returns. Single-threaded; times are monotonic milliseconds.
 */
export class AdmissionQueue<T> {
  readonly #port: AdmissionPort<T>;
  readonly #limits: AdmissionLimits;
  readonly #models = new Map<string, ModelQueue<T>>();
  readonly #owners = new Map<string, Map<string, Waiting<T>>>();
  readonly #expiry = new IndexedHeap<Waiting<T>>((a, b) => a.expiresMs < b.expiresMs);
  #size = 0;
  #promptTokens = 0;
  #sequence = 0;
  #dispatching = false;

  constructor(port: AdmissionPort<T>, limits: AdmissionLimits) {
    this.#port = port;
    this.#limits = limits;
  }

  /** Requests that wait. */
  get size(): number {
    return this.#size;
  }

  /** Prompt tokens of the requests that wait. */
  get promptTokens(): number {
    return this.#promptTokens;
  }

  /** When the next request's time passes; undefined: no waiting request has a limit. */
  get nextExpiryMs(): number | undefined {
    return this.#expiry.peek()?.expiresMs;
  }

  has(owner: string, requestId: string): boolean {
    return this.#owners.get(owner)?.has(requestId) ?? false;
  }

  /** The owner must have no request of this identifier waiting. */
  submit(request: AdmissionRequest<T>, nowMs: number): Submitted {
    const { model, payload } = request;
    const { queue, profile, picked, cachedTokens, backlog, busy } = this.#look(request);
    const waited = this.#waited(picked.policyClass, nowMs, nowMs, false);
    if (request.deadlineMs !== undefined && request.deadlineMs <= nowMs) {
      this.#port.expired(payload, 'deadline', waited);
      return 'expired';
    }
    if (!busy && !backlog) {
      this.#port.dispatch(payload, waited);
      return 'dispatched';
    }
    const rejection = this.#rejection(model, queue, picked);
    if (rejection !== null) return rejection;
    const entry = this.#entry(request, picked, cachedTokens(), nowMs);
    this.#add(entry, queue ?? this.#newQueue(model, profile));
    // A worker is free although others of the class wait for theirs: whoever is first goes.
    if (!busy) this.retry(nowMs, { model });
    return entry.place === undefined ? 'dispatched' : 'waiting';
  }

  /** Where the request would stand if it came now; null: it would go at once. Changes nothing. */
  preview(request: AdmissionRequest<T>, nowMs: number): QueuePosition | null {
    const { queue, profile, picked, cachedTokens, busy } = this.#look(request);
    if (!busy) return null;
    const entry = this.#entry(request, picked, cachedTokens(), nowMs);
    return (queue ?? new ModelQueue<T>(profile, 1)).position(entry);
  }

  /** Takes back a waiting request, for example because its caller gave up. Returns its payload; undefined: it does not wait. */
  cancel(owner: string, requestId: string): T | undefined {
    const entry = this.#owners.get(owner)?.get(requestId);
    if (entry === undefined) return undefined;
    this.#remove(entry);
    return entry.request.payload;
  }

  /** Takes back all of an owner whose stream ended. Returns their payloads. */
  endOwner(owner: string): T[] {
    const entries = [...(this.#owners.get(owner)?.values() ?? [])];
    for (const entry of entries) this.#remove(entry);
    return entries.map(({ request }) => request.payload);
  }

  /**
   * Dispatches what can go now. To be called when a request ended, its prompt was computed, workers came, went or changed,
   * and now and then in any case. What is said to have changed spares looking at the rest. True: there may be more; call
   * again after other work.
   */
  retry(nowMs: number, where: Changed = {}): boolean {
    // A dispatch that fails at once may report a change: the loop below sees it anyway.
    if (this.#dispatching) return true;
    this.expire(nowMs);
    this.#dispatching = true;
    try {
      let budget = this.#limits.maxDispatches;
      for (const [model, queue] of this.#models) {
        if (where.model !== undefined && where.model !== model) continue;
        queue.reopen(where.workers);
        budget = this.#drain(queue, nowMs, budget);
        if (budget === 0) break;
      }
      return budget === 0;
    } finally {
      this.#dispatching = false;
    }
  }

  /** Gives up requests whose time has passed. */
  expire(nowMs: number): void {
    for (let entry = this.#expiry.peek(); entry !== undefined; entry = this.#expiry.peek()) {
      if (entry.expiresMs > nowMs) break;
      this.#remove(entry);
      const because = entry.request.deadlineMs === entry.expiresMs ? 'deadline' : 'timeout';
      this.#port.expired(entry.request.payload, because, this.#waitedOf(entry, nowMs));
    }
  }

  /** Where a waiting request stands; undefined: it does not wait. */
  position(owner: string, requestId: string): QueuePosition | undefined {
    const entry = this.#owners.get(owner)?.get(requestId);
    return entry === undefined ? undefined : this.#models.get(entry.request.model)?.position(entry);
  }

  /** What waits in each class of each model for which something waited since it was last idle. */
  report(): ClassReport[] {
    return [...this.#models].flatMap(([model, queue]) => queue.standings().map((standing) => ({ model, ...standing })));
  }

  /** Forgets models for which nothing waits. */
  forgetIdle(): void {
    for (const [model, queue] of this.#models) if (queue.size === 0) this.#models.delete(model);
  }

  #drain(queue: ModelQueue<T>, nowMs: number, budget: number): number {
    let left = budget;
    while (left > 0) {
      const entry = queue.takeNext(({ request }, policyClass) => !this.#port.allBusy(request.payload, policyClass));
      if (entry === undefined) return left;
      this.#forget(entry);
      left--;
      this.#port.dispatch(entry.request.payload, this.#waitedOf(entry, nowMs));
    }
    return left;
  }

  /** The request's class, and whether it could go now. */
  #look(request: AdmissionRequest<T>) {
    const { model, payload, lane, promptTokens } = request;
    let cached: number | undefined;
    const cachedTokens = (): number => {
      cached ??= Math.min(Math.max(0, this.#port.cachedTokens(payload)), promptTokens);
      return cached;
    };
    const queue = this.#models.get(model);
    const profile = queue?.profile ?? this.#port.profile(model);
    const picked = classFor(profile, request.policyClass, () => promptTokens - cachedTokens());
    const backlog = queue !== undefined && queue.waitingIn(picked.index) > 0;
    // Where others of the lane wait, its workers were busy a moment ago: no need to look again.
    const behind = backlog && queue.hasLane(picked.index, lane);
    const busy = behind || (canWait(picked.policyClass) && this.#port.allBusy(payload, picked.policyClass));
    return { queue, profile, picked, cachedTokens, backlog, busy };
  }

  #rejection(model: string, queue: ModelQueue<T> | undefined, picked: PickedClass): QueueRejection | null {
    const { maxWaiting } = this.#limits;
    if (this.#size >= maxWaiting) {
      return { kind: 'all_requests', policyClass: picked.policyClass.name, limit: maxWaiting, actual: this.#size };
    }
    const stats = queue?.statsOf(picked.index) ?? nothing;
    return rejectionBy(picked.policyClass, stats, this.#port.workers(model));
  }

  #entry(request: AdmissionRequest<T>, picked: PickedClass, cachedTokens: number, nowMs: number): Waiting<T> {
    const { promptTokens, priority, timeoutMs, deadlineMs } = request;
    const cost = Math.max(1, promptTokens - cachedTokens);
    const arrivedMs = Math.min(nowMs, request.arrivedMs ?? nowMs);
    return {
      request,
      picked,
      sequence: this.#sequence,
      score: policyScore(picked.policyClass.queuePolicy, priority, arrivedMs, cost),
      sinceMs: nowMs,
      cachedTokens,
      cost,
      expiresMs: Math.min(timeoutMs > 0 ? nowMs + timeoutMs : Infinity, deadlineMs ?? Infinity),
      place: undefined,
      expiry: undefined,
    };
  }

  #newQueue(model: string, profile: PolicyProfile): ModelQueue<T> {
    const queue = new ModelQueue<T>(profile, this.#limits.maxLanes);
    this.#models.set(model, queue);
    return queue;
  }

  #add(entry: Waiting<T>, queue: ModelQueue<T>): void {
    const { owner, requestId, promptTokens } = entry.request;
    queue.add(entry);
    this.#sequence++;
    const requests = this.#owners.get(owner) ?? new Map<string, Waiting<T>>();
    this.#owners.set(owner, requests.set(requestId, entry));
    if (entry.expiresMs !== Infinity) entry.expiry = this.#expiry.push(entry);
    this.#size++;
    this.#promptTokens += promptTokens;
  }

  #remove(entry: Waiting<T>): void {
    this.#models.get(entry.request.model)?.remove(entry);
    this.#forget(entry);
  }

  /** Everything about the entry but its place in its model's queue. */
  #forget(entry: Waiting<T>): void {
    const { owner, requestId, promptTokens } = entry.request;
    const requests = this.#owners.get(owner);
    requests?.delete(requestId);
    if (requests?.size === 0) this.#owners.delete(owner);
    if (entry.expiry !== undefined) this.#expiry.remove(entry.expiry);
    this.#size--;
    this.#promptTokens -= promptTokens;
  }

  #waitedOf({ picked, sinceMs }: Waiting<T>, nowMs: number): Waited {
    return this.#waited(picked.policyClass, sinceMs, nowMs, true);
  }

  #waited({ name }: PolicyClass, sinceMs: number, nowMs: number, queued: boolean): Waited {
    const waitedMs = Math.max(0, nowMs - sinceMs);
    return { policyClass: name, queued, waitedMs, overlapIsStale: queued && waitedMs > this.#limits.refreshAfterMs };
  }
}
