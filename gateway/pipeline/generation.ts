import { decideMigration } from '#core/migration/migration.ts';
import { servingOf } from '#core/models/serving.ts';
import { FinishReason } from '#gen/stator/engine/v1/generate_pb.ts';
import type { SlotFinished, SlotPrefilled } from '#gen/stator/engine/v1/session_pb.ts';
import type { RouteDecision } from '#gen/stator/router/v1/router_pb.ts';
import type { KvHandoff } from '#gen/stator/transfer/v1/handoff_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { Attempt, type AttemptOwner } from './attempt.ts';
import type { Choice, ChoiceWorker } from './choice.ts';
import { Handoffs, type ReleaseCause } from './handoffs.ts';
import { engineError, isRetryable } from './outcome.ts';
import type { PipelineParts } from './parts.ts';
import { Placement } from './placement.ts';
import { buildGenerateRequest, type PreparedPrompt } from './prepare.ts';
import { awaitSession, routed } from './reach-worker.ts';
import type { GenerationRequest } from './request.ts';
import { buildRouteRequest } from './route-request.ts';
import { decodeAfter, firstStages, forStage, mayResume, type Stage, settledStage, stages } from './stage.ts';
import type { GenerationTimes } from './times.ts';

/** Who takes a generation's output. */
export interface GenerationObserver {
  /** New text, tokens or the end of a choice; called at most once for each frame and choice. */
  choiceChanged(choice: Choice, generation: Generation): void;
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

/**
 * Runs one prepared prompt: routes it, submits its choices, follows them from prefill to decode, and moves them when a
 * worker is lost.
 */
export class Generation implements AttemptOwner {
  readonly request: GenerationRequest;
  readonly prompt: PreparedPrompt;
  readonly choices: readonly Choice[];
  readonly times: GenerationTimes;
  /** Prompt tokens that the worker of the first token found cached; of several choices the first to report counts. */
  cachedTokens = 0;
  /** The router's newest decision on the prompt: choices that migrated later have other workers. null: not placed yet. */
  decision: RouteDecision | null = null;
  /** Its newest decision on a decode stage; null: none was asked for. */
  decodeDecision: RouteDecision | null = null;
  migrations = 0;
  readonly #parts: PipelineParts;
  readonly #observer: GenerationObserver;
  readonly #attempts = new Map<Choice, Attempt>();
  /** Attempts that failed. */
  readonly #failures = new Map<Choice, number>();
  readonly #handoffs: Handoffs;
  /** Who computed the prompts of choices that another worker decodes. */
  readonly #prefillWorkers = new Map<Choice, ChoiceWorker>();
  readonly #excluded = new Set<bigint>();
  readonly #abort = new AbortController();
  readonly #explain: boolean;
  /** The placement whose report of the prompt counts. */
  #measured: Placement | null = null;
  #timer: NodeJS.Timeout | null = null;
  #running: number;
  /** Names reservations. */
  #placements = 0;
  #lastError: StatorError | null = null;

  constructor(parts: PipelineParts, o: GenerationOptions) {
    this.#parts = parts;
    this.request = o.request;
    this.prompt = o.prompt;
    this.choices = o.choices;
    this.#observer = o.observer;
    this.times = o.times;
    this.#explain = o.explain;
    this.#handoffs = new Handoffs(parts.handoffs);
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

  /** Who computed the prompt of a choice; null: nobody yet. */
  prefillWorkerOf(choice: Choice): ChoiceWorker | null {
    return this.#prefillWorkers.get(choice) ?? choice.worker;
  }

  /** Places and submits every choice; throws StatorError if no worker takes them. */
  async start(): Promise<void> {
    this.#parts.turns.began(this);
    if (this.request.timeoutMs > 0) this.#timer = setTimeout(() => this.#expire(), this.request.timeoutMs);
    try {
      await this.#begin(this.choices, this.request.requestId);
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
      this.#close(choice, 'cancelled');
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
    if (attempt.stage.kind !== 'decode') return;
    this.#handoffs.taken(attempt.choice);
    if (times.decodeBeganMs === 0) times.decodeBeganMs = performance.now();
  }

  stopped(attempt: Attempt): void {
    this.#endAttempt(attempt.choice, { cancel: true, workerFailed: false });
    this.#ended(attempt.choice, 'ended');
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
      case FinishReason.HANDOFF:
        this.#handedOver(attempt, finished.handoff);
        return;
      default:
        this.#recover(attempt, engineError(finished, this.request.guidedField));
        return;
    }
    this.#endAttempt(choice, { cancel: false, workerFailed: false });
    this.#ended(choice, 'ended');
  }

  leftBehind({ placement }: Attempt, handoff: KvHandoff): void {
    this.#handoffs.refuse(placement, handoff);
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

  /** Lets whoever serves the model now compute the prompt; where nobody of a form is left, the next form does. */
  #begin(choices: readonly Choice[], routeId: string): Promise<void> {
    return this.#placeFirst(choices, routeId, firstStages(this.request));
  }

  /** Goes on after a prefill, with the KV that its worker holds if it still does. */
  #continue(choice: Choice, routeId: string): Promise<void> {
    const held = this.#handoffs.usable(choice, Date.now());
    if (held === undefined) return this.#begin([choice], routeId);
    const serving = servingOf(this.request.model.entry);
    // Where no decode worker can fetch the KV, one that computes the prompt again is better than none.
    const others = serving.includes('whole') ? [stages.whole, stages.alone] : [stages.alone];
    return this.#placeFirst([choice], routeId, [decodeAfter(held.holder), ...others]);
  }

  /** Places choices at the first of several stages for which there is a worker. */
  async #placeFirst(choices: readonly Choice[], routeId: string, alternatives: readonly Stage[]): Promise<void> {
    let refused = new StatorError('worker_unavailable', 'No worker serves the model now.', { retryAfterMs: 1000 });
    for (const stage of alternatives) {
      try {
        await this.#place(choices, routeId, stage);
        return;
      } catch (thrown) {
        refused = StatorError.from(thrown);
        if (refused.code !== 'worker_unavailable' || this.#abort.signal.aborted) break;
      }
    }
    // With every candidate excluded, why the last worker failed says more than that none is left.
    throw refused.code === 'worker_unavailable' && this.#lastError !== null ? this.#lastError : refused;
  }

  async #place(choices: readonly Choice[], routeId: string, asked: Stage): Promise<void> {
    for (;;) {
      const { placement, stage } = await this.#route(routeId, choices.length, asked);
      if (this.#abort.signal.aborted) {
        for (const _ of choices) placement.release(false);
        throw StatorError.from(this.#abort.signal.reason);
      }
      const isOnly = this.request.model.entry.workers.size <= 1;
      const reached = { isOnly, signal: this.#abort.signal };
      const error = (await awaitSession(placement.session, reached)) ?? this.#submit(choices, placement, stage);
      if (error === null) return;
      for (const _ of choices) placement.release(isRetryable(error));
      this.#excluded.add(placement.instanceId);
      this.#lastError = error;
      const mayRetry = isRetryable(error) && !this.#isPinned(asked);
      if (!mayRetry || this.#excluded.size > this.#parts.migration.limit) throw error;
    }
  }

  async #route(routeId: string, sequences: number, asked: Stage): Promise<{ placement: Placement; stage: Stage }> {
    const { request, prompt, times } = this;
    const { router, sessions, routeTimeoutMs } = this.#parts;
    const message = buildRouteRequest(request, prompt, {
      routeId,
      sequences,
      excluded: this.#excluded,
      queueTimeoutMs: routeTimeoutMs,
      explain: this.#explain,
      stage: asked,
    });
    const decision = await routed(router, message, { timeoutMs: routeTimeoutMs, signal: this.#abort.signal });
    const stage = settledStage(asked, decision);
    if (stage.kind === 'decode') {
      this.decodeDecision = decision;
      if (times.decodeRoutedMs === 0) times.decodeRoutedMs = performance.now();
    } else {
      this.decision = decision;
      if (times.firstTokenMs === 0) times.routedMs = performance.now();
      this.#parts.metrics.placedPrompt(this, stage);
    }
    const { instanceId, dataParallelRank } = decision;
    const session = sessions.session(instanceId);
    const blockSize = prompt.kvBlockSize;
    const placement = new Placement({ routeId, instanceId, dataParallelRank, session, router, sequences, blockSize });
    return { placement, stage };
  }

  #isPinned(stage: Stage): boolean {
    const { routing } = this.request;
    return (stage.kind === 'prefill' ? routing.prefill : routing).instanceId !== null;
  }

  /** Submits all or none; what went wrong otherwise. */
  #submit(choices: readonly Choice[], placement: Placement, stage: Stage): StatorError | null {
    const submitted: Attempt[] = [];
    try {
      for (const choice of choices) {
        const attempt = new Attempt(choice, placement, stage, this);
        const held = stage.kind === 'decode' ? this.#handoffs.usable(choice, Date.now()) : undefined;
        const message = forStage(buildGenerateRequest(this, choice, placement), stage, held?.handoff);
        attempt.ref = placement.session.submit(message, attempt);
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
      if (stage.prefill === null) {
        this.#prefillWorkers.delete(attempt.choice);
        this.#handoffs.release(attempt.choice, 'abandoned');
      } else this.#prefillWorkers.set(attempt.choice, stage.prefill);
    }
    return null;
  }

  /** The prompt is computed and its first token delivered; the rest of the output comes from another worker. */
  #handedOver(attempt: Attempt, handoff: KvHandoff | undefined): void {
    const { choice, placement } = attempt;
    this.#endAttempt(choice, { cancel: false, workerFailed: false });
    if (handoff !== undefined) this.#handoffs.hold(choice, placement, handoff);
    if (choice.tokenIds.length >= this.prompt.maxTokens) {
      choice.end('length', null);
      this.#ended(choice, 'ended');
    } else this.#goOn(choice, 'decode');
  }

  /** Finds the next worker for a choice that has none; what goes wrong ends the choice. */
  #goOn(choice: Choice, why: 'decode' | 'migrate'): void {
    this.#placements += 1;
    const routeId = `${this.request.requestId}/${choice.index}/${why}${this.#placements}`;
    this.#continue(choice, routeId).catch((thrown: unknown) => {
      if (choice.finish !== null) return;
      choice.fail(StatorError.from(thrown));
      this.#close(choice, 'abandoned');
    });
  }

  #recover(attempt: Attempt, error: StatorError): void {
    const { choice, placement } = attempt;
    const retryable = isRetryable(error);
    const failures = (this.#failures.get(choice) ?? 0) + 1;
    this.#failures.set(choice, failures);
    this.#endAttempt(choice, { cancel: false, workerFailed: retryable });
    const decision = decideMigration(
      {
        code: error.code,
        retryable,
        attempts: failures,
        promptTokens: this.prompt.tokenIds.length,
        deliveredTokens: choice.tokenIds.length,
        maxTokens: this.prompt.maxTokens,
        guided: !mayResume(this.request),
        pinned: this.#isPinned(attempt.stage),
        cancelled: this.#abort.signal.aborted,
      },
      this.#parts.migration,
    );
    if (decision.action !== 'replay') {
      if (decision.action === 'complete') choice.end('length', null);
      else choice.fail(error);
      this.#close(choice, 'abandoned');
      return;
    }
    this.#excluded.add(placement.instanceId);
    this.#lastError = error;
    this.migrations += 1;
    this.#parts.metrics.migrated(this, decision.type, error);
    this.#goOn(choice, 'migrate');
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
  #close(choice: Choice, because: ReleaseCause): void {
    this.#ended(choice, because);
    this.#observer.choiceChanged(choice, this);
  }

  #ended(choice: Choice, because: ReleaseCause): void {
    this.#handoffs.release(choice, because);
    this.#running -= 1;
    if (this.#running === 0) this.#settle();
  }

  #settle(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#parts.turns.ended(this);
  }

  #expire(): void {
    const seconds = this.request.timeoutMs / 1000;
    this.cancel(new StatorError('deadline_exceeded', `The request took longer than ${seconds} s.`));
  }
}
