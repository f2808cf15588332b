import { create } from '@bufbuild/protobuf';
import {
  type AffinityMode,
  type AffinityOptions,
  type AffinityTarget,
  type AffinityUse,
  SessionAffinity,
  type SharedAffinity,
  sessionIdProblem,
} from '#core/routing/session-affinity.ts';
import { type RouteRequest, type SessionBinding, SessionBindingSchema } from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { Workers } from './workers.ts';

/** Which worker each session is bound to; null options: sessions bind nothing. */
export class Sessions {
  readonly #followsParent: boolean;
  readonly #affinity: SessionAffinity | null;
  readonly #mode: AffinityMode | null;
  readonly #workers: Workers;
  readonly #nowMs: () => number;

  /** `followsParent`: sessions of subagents begin where their parents' are. */
  constructor(options: AffinityOptions | null, workers: Workers, nowMs: () => number, followsParent = false) {
    this.#followsParent = followsParent;
    this.#affinity = options === null ? null : new SessionAffinity(options);
    this.#mode = options?.mode ?? null;
    this.#workers = workers;
    this.#nowMs = nowMs;
  }

  get stats(): SessionAffinity['stats'] {
    this.#affinity?.expire(this.#nowMs());
    return this.#affinity?.stats ?? { sessions: 0, evicted: 0, expired: 0 };
  }

  /** Whether a session waits for its worker rather than go to another. */
  get areHard(): boolean {
    return this.#mode === 'hard';
  }

  /** Throws `invalid_argument` for a request whose session can have no binding. */
  check({ sessionId, parentSessionId }: RouteRequest): void {
    if (this.#affinity === null || sessionId === '') return;
    const problem = sessionIdProblem(sessionId);
    if (problem !== null) throw StatorError.invalid('session_id', `${problem}.`);
    const ofParent = parentSessionId === '' ? null : sessionIdProblem(parentSessionId);
    if (ofParent !== null) throw StatorError.invalid('parent_session_id', `${ofParent}.`);
  }

  /** Where the request's session must go; null: anywhere. Throws when a hard binding cannot be kept. */
  target(request: RouteRequest, cannotServe: (target: AffinityTarget) => string | null): AffinityTarget | null {
    const { sessionId, constraints } = request;
    if (this.#affinity === null || sessionId === '') return null;
    // A request that names its worker means it.
    if (constraints?.instanceId !== undefined) return null;
    const answer = this.#affinity.answer(scopeOf(request), sessionId, this.#nowMs(), cannotServe);
    if (answer.kind === 'refused')
      throw new StatorError(
        'worker_unavailable',
        `The session is bound to the worker ${answer.target.instanceId}, which cannot serve it: ${answer.reason}.`,
        { retryAfterMs: 1000 },
      );
    return answer.kind === 'bound' ? answer.target : this.#parentTarget(request, cannotServe);
  }

  /** Where a session that is bound to nothing begins, if anywhere; never a reason to wait or to refuse. */
  #parentTarget(request: RouteRequest, cannotServe: (target: AffinityTarget) => string | null): AffinityTarget | null {
    const { sessionId, parentSessionId } = request;
    if (!this.#followsParent || parentSessionId === '') return null;
    const scope = scopeOf(request);
    if (this.#affinity?.get(scope, sessionId, this.#nowMs()) !== undefined) return null;
    const parent = this.#affinity?.get(scope, parentSessionId, this.#nowMs());
    if (parent === undefined) return null;
    const { instanceId, dataParallelRank } = parent;
    const target = { instanceId, dataParallelRank };
    return cannotServe(target) === null ? target : null;
  }

  /** The request runs there. */
  use(request: RouteRequest, target: AffinityTarget): AffinityUse | null {
    if (this.#affinity === null || request.sessionId === '') return null;
    return this.#affinity.use(scopeOf(request), request.sessionId, target, this.#nowMs());
  }

  /** The worker failed the request, or no other of its session follows. */
  drop(request: RouteRequest, target: AffinityTarget): void {
    if (request.sessionId !== '') this.#affinity?.drop(scopeOf(request), request.sessionId, target);
  }

  dropWorker(instanceId: bigint): void {
    this.#affinity?.dropWorker(instanceId);
  }

  /** The binding of the request's session. */
  binding(request: RouteRequest): SessionBinding | undefined {
    if (this.#affinity === null || request.sessionId === '') return undefined;
    const shared = this.#affinity.get(scopeOf(request), request.sessionId, this.#nowMs());
    return shared === undefined ? undefined : toBinding(shared);
  }

  *bindings(): Generator<SessionBinding> {
    for (const shared of this.#affinity?.entries(this.#nowMs()) ?? []) yield toBinding(shared);
  }

  /** What a replica tells. */
  advise(bindings: readonly SessionBinding[]): void {
    const knows = (instanceId: bigint): boolean => this.#workers.has(instanceId);
    this.#affinity?.merge(bindings.map(fromBinding), this.#nowMs(), knows);
  }
}

/** Stages of a split request are bound apart. */
function scopeOf({ model, constraints }: Pick<RouteRequest, 'model' | 'constraints'>): string {
  const role = constraints?.role ?? 0;
  return role === 0 ? model : `${model}#${role}`;
}

function toBinding({ scope, idleMs, sequence, replica, ...target }: SharedAffinity): SessionBinding {
  return create(SessionBindingSchema, {
    ...target,
    model: scope,
    idleMs: BigInt(Math.round(idleMs)),
    sequenceNumber: BigInt(sequence),
    routerInstanceId: replica,
  });
}

function fromBinding(binding: SessionBinding): SharedAffinity {
  const { model: scope, sessionId, instanceId, dataParallelRank, idleMs, sequenceNumber, routerInstanceId } = binding;
  const replica = routerInstanceId;
  const sequence = Number(sequenceNumber);
  return { scope, sessionId, instanceId, dataParallelRank, sequence, replica, idleMs: Number(idleMs) };
}
