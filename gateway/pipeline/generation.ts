import { decideMigration } from '#core/migration/migration.ts';
import { FinishReason } from '#gen/stator/engine/v1/generate_pb.ts';
import type { SlotFinished, SlotPrefilled } from '#gen/stator/engine/v1/session_pb.ts';
import type { RouteDecision } from '#gen/stator/router/v1/router_pb.ts';
import { errorClasses, isErrorCode } from '#lib/errors/codes.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { Attempt, type AttemptOwner } from './attempt.ts';
import type { Choice } from './choice.ts';
import type { PipelineParts } from './parts.ts';
import { Placement } from './placement.ts';
import { buildGenerateRequest, type PreparedPrompt } from './prepare.ts';
import type { GenerationRequest } from './request.ts';
import { buildRouteRequest } from './route-request.ts';

/** Milliseconds that a request waits for a session that is being opened. */
const sessionPatienceMs = 1000;

/** Who takes a generation's output. */
export interface GenerationObserver {
  /** New text, tokens or the end of a choice; called at most once for each frame and choice. */
  choiceChanged(choice: Choice, generation: Generation): void;
}

/** When things happened, in milliseconds of the monotonic clock; 0: not yet. */
export interface GenerationTimes {
  readonly receivedMs: number;
  preprocessedMs: number;
  /** When the last placement before the first token was decided. */
  routedMs: number;
  /** When the worker of the first token began the prompt, as it says. */
  prefillBeganMs: number;
  firstTokenMs: number;
  lastTokenMs: number;
}

export interface GenerationOptions {
  readonly request: GenerationRequest;
  readonly prompt: PreparedPrompt;
  readonly choices: readonly Choice[];
  readonly observer: GenerationObserver;
  readonly times: GenerationTimes;
  /** Whether decisions come with every worker's cost. */
  readonly explain: boolean;
}

/** Runs one prepared prompt: routes it, submits its choices, follows them, and moves them when a worker is lost. */
export class Generation implements AttemptOwner {
  readonly request: GenerationRequest;
  readonly prompt: PreparedPrompt;
  readonly choices: readonly Choice[];
  readonly times: GenerationTimes;
  /** Prompt tokens that the worker of the first token found cached; of several choices the first to report counts. */
  cachedTokens = 0;
  /** The router's newest decision: choices that migrated later have other workers. null: not placed yet. */
  decision: RouteDecision | null = null;
  migrations = 0;
  readonly #parts: PipelineParts;
  readonly #observer: GenerationObserver;
  readonly #attempts = new Map<Choice, Attempt>();
  readonly #attemptCounts = new Map<Choice, number>();
  readonly #excluded = new Set<bigint>();
  readonly #abort = new AbortController();
  readonly #explain: boolean;
  /** The placement whose report of the prompt counts. */
  #measured: Placement | null = null;
  #timer: NodeJS.Timeout | null = null;
  #running: number;
  #lastError: StatorError | null = null;

  constructor(parts: PipelineParts, o: GenerationOptions) {
    this.#parts = parts;
    this.request = o.request;
    this.prompt = o.prompt;
    this.choices = o.choices;
    this.#observer = o.observer;
    this.times = o.times;
    this.#explain = o.explain;
    this.#running = o.choices.length;
  }

  /** Whether every choice has ended. */
  get done(): boolean {
    return this.#running === 0;
  }

  get outputTokens(): number {
    let tokens = 0;
    for (const choice of this.choices) tokens += choice.tokenIds.length;
    return tokens;
  }

  /** Places and submits every choice; throws StatorError if no worker takes them. */
  async start(): Promise<void> {
    if (this.request.timeoutMs > 0) this.#timer = setTimeout(() => this.#expire(), this.request.timeoutMs);
    try {
      await this.#place(this.choices, this.request.requestId);
    } catch (thrown) {
      const error = StatorError.from(thrown);
      this.cancel(error);
      throw error;
    }
  }

  /** Ends every choice that still runs, here and in the engine, at once. Idempotent. */
  cancel(error: StatorError = new StatorError('cancelled', 'The request was cancelled.')): void {
    this.#abort.abort(error);
    for (const choice of this.choices) {
      if (choice.finish !== null) continue;
      this.#endAttempt(choice, { cancel: true, workerFailed: false });
      choice.fail(error);
      this.#close(choice);
    }
  }

  prefilled(attempt: Attempt, prefilled: SlotPrefilled): void {
    attempt.placement.prefillDone();
    const { times } = this;
    if (times.firstTokenMs === 0 && this.#measured !== attempt.placement) {
      this.#measured = attempt.placement;
      this.cachedTokens = prefilled.cachedTokens;
      times.prefillBeganMs = times.routedMs + prefilled.queueUs / 1000;
    }
    if (prefilled.promptLogprobs.length > 0) this.prompt.logprobs = prefilled.promptLogprobs;
  }

  stopped(attempt: Attempt): void {
    this.#endAttempt(attempt.choice, { cancel: true, workerFailed: false });
    this.#running -= 1;
    if (this.#running === 0) this.#settle();
  }

  finished(attempt: Attempt, finished: SlotFinished): void {
    const { choice } = attempt;
    switch (finished.reason) {
      case FinishReason.STOP:
        choice.end('stop', finished.stopTokenId ?? null);
        break;
      case FinishReason.LENGTH:
        choice.end('length', null);
        break;
      default:
        this.#recover(attempt, engineError(finished));
        return;
    }
    this.#endAttempt(choice, { cancel: false, workerFailed: false });
    this.#running -= 1;
    if (this.#running === 0) this.#settle();
  }

  lost(attempt: Attempt, error: StatorError): void {
    this.#recover(attempt, error);
  }

  frameEnd(attempt: Attempt): void {
    const { choice } = attempt;
    const added = choice.tokenIds.length - attempt.countedTokens;
    if (added > 0) {
      attempt.countedTokens = choice.tokenIds.length;
      attempt.placement.addOutput(added);
      this.#parts.metrics.tokens(this, added);
    }
    this.#observer.choiceChanged(choice, this);
  }

  async #place(choices: readonly Choice[], routeId: string): Promise<void> {
    for (;;) {
      const placement = await this.#route(routeId, choices.length);
      if (this.#abort.signal.aborted) {
        for (const _ of choices) placement.release(false);
        throw StatorError.from(this.#abort.signal.reason);
      }
      const error = (await this.#awaitSession(placement)) ?? this.#submit(choices, placement);
      if (error === null) return;
      for (const _ of choices) placement.release(isRetryable(error));
      this.#excluded.add(placement.instanceId);
      this.#lastError = error;
      const mayRetry = isRetryable(error) && this.request.routing.instanceId === null;
      if (!mayRetry || this.#excluded.size > this.#parts.migration.limit) throw error;
    }
  }

  async #route(routeId: string, sequences: number): Promise<Placement> {
    const { request, prompt } = this;
    const excluded = this.#excluded;
    const queueTimeoutMs = this.#parts.routeTimeoutMs;
    const message = buildRouteRequest(request, prompt, {
      routeId,
      sequences,
      excluded,
      queueTimeoutMs,
      explain: this.#explain,
    });
    const { router, sessions, routeTimeoutMs } = this.#parts;
    // The router keeps the time by itself; this is for one that does not answer at all.
    const patience = new AbortController();
    const timer = setTimeout(() => patience.abort(routeTimeout(routeTimeoutMs)), routeTimeoutMs + 1000);
    const signal = AbortSignal.any([this.#abort.signal, patience.signal]);
    const decision = await router
      .route(message, signal)
      .catch((thrown: unknown) => {
        const refused = StatorError.from(patience.signal.aborted ? patience.signal.reason : thrown);
        // With every candidate excluded, why the last worker failed says more than that none is left.
        throw refused.code === 'worker_unavailable' && this.#lastError !== null ? this.#lastError : refused;
      })
      .finally(() => clearTimeout(timer));
    if (this.times.firstTokenMs === 0) this.times.routedMs = performance.now();
    this.decision = decision;
    return new Placement({
      routeId,
      instanceId: decision.instanceId,
      dataParallelRank: decision.dataParallelRank,
      session: sessions.session(decision.instanceId),
      router,
      sequences,
      blockSize: prompt.kvBlockSize,
    });
  }

  /** A worker that was just found has no session yet, and the only worker is worth waiting for while it reconnects. */
  async #awaitSession(placement: Placement): Promise<StatorError | null> {
    const { session } = placement;
    if (session.state === 'ready') return null;
    if (session.state === 'reconnecting' && this.request.model.entry.workers.size > 1) return null;
    const patience = AbortSignal.any([this.#abort.signal, AbortSignal.timeout(sessionPatienceMs)]);
    try {
      await session.ready(patience);
      return null;
    } catch (thrown) {
      if (this.#abort.signal.aborted) return StatorError.from(this.#abort.signal.reason);
      const options = { cause: thrown, retryAfterMs: sessionPatienceMs };
      return new StatorError('worker_unavailable', 'The worker cannot be reached.', options);
    }
  }

  /** Submits all or none; what went wrong otherwise. */
  #submit(choices: readonly Choice[], placement: Placement): StatorError | null {
    const submitted: Attempt[] = [];
    try {
      for (const choice of choices) {
        const attempt = new Attempt(choice, placement, this);
        attempt.ref = placement.session.submit(buildGenerateRequest(this, choice, placement), attempt);
        submitted.push(attempt);
      }
    } catch (thrown) {
      const error = StatorError.from(thrown);
      for (const attempt of submitted) {
        attempt.live = false;
        placement.session.cancel(attempt.ref);
      }
      return error;
    }
    for (const attempt of submitted) {
      this.#attempts.set(attempt.choice, attempt);
      attempt.choice.worker = placement;
      this.#attemptCounts.set(attempt.choice, (this.#attemptCounts.get(attempt.choice) ?? 0) + 1);
    }
    return null;
  }

  #recover(attempt: Attempt, error: StatorError): void {
    const { choice, placement } = attempt;
    const retryable = isRetryable(error);
    this.#endAttempt(choice, { cancel: false, workerFailed: retryable });
    const decision = decideMigration(
      {
        code: error.code,
        retryable,
        attempts: this.#attemptCounts.get(choice) ?? 1,
        promptTokens: this.prompt.tokenIds.length,
        deliveredTokens: choice.tokenIds.length,
        maxTokens: this.prompt.maxTokens,
        guided: this.request.guided !== null,
        pinned: this.request.routing.instanceId !== null,
        cancelled: this.#abort.signal.aborted,
      },
      this.#parts.migration,
    );
    if (decision.action === 'complete') {
      choice.end('length', null);
      this.#close(choice);
      return;
    }
    if (decision.action === 'fail') {
      choice.fail(error);
      this.#close(choice);
      return;
    }
    this.#excluded.add(placement.instanceId);
    this.#lastError = error;
    this.migrations += 1;
    this.#parts.metrics.migrated(this, decision.type, error);
    const routeId = `${this.request.requestId}/${choice.index}/${this.migrations}`;
    this.#place([choice], routeId).catch((thrown: unknown) => {
      if (choice.finish !== null) return;
      choice.fail(StatorError.from(thrown));
      this.#close(choice);
    });
  }

  #endAttempt(choice: Choice, o: { cancel: boolean; workerFailed: boolean }): void {
    const attempt = this.#attempts.get(choice);
    if (attempt === undefined) return;
    this.#attempts.delete(choice);
    attempt.live = false;
    if (o.cancel) attempt.placement.session.cancel(attempt.ref);
    attempt.placement.release(o.workerFailed);
  }

  /** A choice ended outside a frame: nobody else will tell the observer. */
  #close(choice: Choice): void {
    this.#running -= 1;
    if (this.#running === 0) this.#settle();
    this.#observer.choiceChanged(choice, this);
  }

  #settle(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #expire(): void {
    const seconds = this.request.timeoutMs / 1000;
    this.cancel(new StatorError('deadline_exceeded', `The request took longer than ${seconds} s.`));
  }
}

function routeTimeout(afterMs: number): StatorError {
  return new StatorError('overloaded', `No worker was free within ${afterMs / 1000} s.`, { retryAfterMs: 1000 });
}

function isRetryable(error: StatorError): boolean {
  return error.retryable ?? errorClasses[error.code].retryable;
}

/** The error of a sequence that ended neither by stop nor by length. */
function engineError(finished: SlotFinished): StatorError {
  const { error } = finished;
  if (error === undefined) {
    const cancelled = finished.reason === FinishReason.CANCELLED;
    const message = cancelled
      ? 'The worker cancelled the sequence.'
      : 'The worker ended the sequence without a reason.';
    return new StatorError(cancelled ? 'cancelled' : 'backend_protocol', message);
  }
  const code = isErrorCode(error.code) ? error.code : 'engine_failed';
  return new StatorError(code, error.message, {
    retryable: error.retryable,
    ...(error.field === '' ? {} : { field: error.field }),
  });
}
