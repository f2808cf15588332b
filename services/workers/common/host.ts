import { create } from '@bufbuild/protobuf';
import { SpanStatusCode } from '@opentelemetry/api';
import { FinishReason, type GenerateRequest, UsageSchema } from '#gen/stator/engine/v1/generate_pb.ts';
import type { RankLoad } from '#gen/stator/events/v1/events_pb.ts';
import type { ModelCard } from '#gen/stator/model/v1/model_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { FinishedInfo } from '#lib/rpc/session/server.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import type { Engine, Finished, SequenceHandle, StepBatch } from './engine.ts';
import { ForwardPassFeed } from './forward-pass-feed.ts';
import { KvEventLog } from './kv-event-log.ts';
import { type HostMetrics, hostMetrics } from './metrics.ts';
import { type RunningSequence, type SequenceSink, startSequenceSpan, toSequenceError } from './sequence.ts';
import { checkGenerateRequest } from './validate.ts';

export interface HostOptions {
  readonly engine: Engine;
  readonly telemetry: Telemetry;
  readonly kvEventRing: number;
  readonly forwardPassRing: number;
  /** The engine made a step and every sequence has its part of it. */
  readonly onStepEnd: () => void;
  /** The engine is unusable; its sequences have ended with `engine_failed`. */
  readonly onFatal: (error: StatorError) => void;
}

/** One engine in the worker: gives sequences their handles, passes every step on, keeps events and counts. */
export class EngineHost {
  readonly engine: Engine;
  readonly kvEvents: KvEventLog;
  readonly passes: ForwardPassFeed;
  readonly #o: HostOptions;
  readonly #running = new Map<SequenceHandle, RunningSequence>();
  readonly #byRequestId = new Map<string, Set<RunningSequence>>();
  #metrics: HostMetrics | undefined;
  #nextHandle = 1;
  #lastActivityMs = performance.now();
  #failed: StatorError | undefined;

  constructor(options: HostOptions) {
    this.engine = options.engine;
    this.#o = options;
    this.kvEvents = new KvEventLog(options.engine, options.kvEventRing, () => this.#metrics?.subscribersCut.inc());
    this.passes = new ForwardPassFeed(options.forwardPassRing, () => this.#metrics?.passesDropped.inc());
  }

  get card(): ModelCard {
    return this.engine.card;
  }

  /** Sequences taken and not ended. */
  get running(): number {
    return this.#running.size;
  }

  get failed(): StatorError | undefined {
    return this.#failed;
  }

  get metrics(): HostMetrics {
    if (this.#metrics === undefined) throw new StatorError('not_ready', 'the engine has not started');
    return this.#metrics;
  }

  /** Milliseconds since a sequence ended or produced something. */
  get idleMs(): number {
    return this.#running.size > 0 ? 0 : performance.now() - this.#lastActivityMs;
  }

  async start(signal: AbortSignal, onProgress: (fraction: number) => void): Promise<void> {
    const listener = {
      onStep: (step: StepBatch) => this.#onStep(step),
      onFatal: (error: Error) => this.#onFatal(error),
    };
    await this.engine.start(listener, { signal, onProgress });
    this.#metrics = hostMetrics(this.#o.telemetry.metrics, this.card.name, {
      running: () => this.#running.size,
      load: () => this.load(),
    });
  }

  load(): RankLoad[] {
    return this.#failed === undefined ? this.engine.load() : [];
  }

  /** Checks and takes a sequence; `sink.finished` follows exactly once. Throws StatorError to refuse it. */
  submit(request: GenerateRequest, sink: SequenceSink, o: { readonly selfTest?: boolean } = {}): RunningSequence {
    if (this.#failed !== undefined) throw this.#failed;
    checkGenerateRequest(request, this.card, Date.now());
    const handle = this.#takeHandle();
    const sequence: RunningSequence = {
      handle,
      request,
      sink,
      span: startSequenceSpan(this.#o.telemetry.tracer, request, this.card.name),
      submittedMs: performance.now(),
      selfTest: o.selfTest ?? false,
      outputTokens: 0,
      endsAs: undefined,
      deadline: undefined,
    };
    try {
      this.engine.submit(handle, request);
    } catch (thrown) {
      this.#refused(sequence, StatorError.from(thrown));
      throw thrown;
    }
    this.#running.set(handle, sequence);
    this.#index(sequence);
    this.#watchDeadline(sequence);
    return sequence;
  }

  /** Ends a sequence within one step. `endsAs`: its end is this error instead of a cancellation. */
  cancel(sequence: RunningSequence, endsAs?: StatorError): void {
    if (!this.#running.has(sequence.handle)) return;
    sequence.endsAs ??= endsAs;
    this.engine.cancel(sequence.handle);
  }

  /** Ends every sequence of a request; returns how many there were. */
  abort(requestId: string): number {
    const sequences = this.#byRequestId.get(requestId);
    for (const sequence of sequences ?? []) this.cancel(sequence);
    return sequences?.size ?? 0;
  }

  abortAll(endsAs?: StatorError): number {
    for (const sequence of this.#running.values()) this.cancel(sequence, endsAs);
    return this.#running.size;
  }

  #takeHandle(): SequenceHandle {
    while (this.#running.has(this.#nextHandle)) this.#nextHandle = (this.#nextHandle % 0xffff_ffff) + 1;
    const handle = this.#nextHandle;
    this.#nextHandle = (handle % 0xffff_ffff) + 1;
    return handle;
  }

  #index(sequence: RunningSequence): void {
    const { requestId } = sequence.request;
    if (requestId === '') return;
    const sequences = this.#byRequestId.get(requestId);
    if (sequences === undefined) this.#byRequestId.set(requestId, new Set([sequence]));
    else sequences.add(sequence);
  }

  #watchDeadline(sequence: RunningSequence): void {
    const { deadlineUnixMs } = sequence.request;
    if (deadlineUnixMs === 0n) return;
    // Beyond 24 days a timer overflows; such a deadline is none.
    const delayMs = Number(deadlineUnixMs) - Date.now();
    if (delayMs > 0x7fff_ffff) return;
    const late = new StatorError('deadline_exceeded', 'the deadline passed while the sequence ran', {
      field: 'deadline_unix_ms',
    });
    sequence.deadline = setTimeout(() => this.cancel(sequence, late), Math.max(0, delayMs));
  }

  #onStep(step: StepBatch): void {
    for (const info of step.prefilled) {
      const sequence = this.#running.get(info.handle);
      if (sequence === undefined) continue;
      const { cachedTokens, queueUs, prefillUs } = info;
      sequence.sink.prefilled({ cachedTokens, queueUs, prefillUs, promptLogprobs: [...(info.promptLogprobs ?? [])] });
      sequence.span.addEvent('queue', { 'stator.queue_us': queueUs });
      sequence.span.addEvent('prefill', { 'stator.prefill_us': prefillUs, 'stator.cached_tokens': cachedTokens });
      this.#metrics?.queueSeconds.observe(queueUs / 1e6);
    }
    this.#addTokens(step);
    for (const finished of step.finished) this.#finish(finished);
    if (step.kvEvents.length > 0) {
      this.kvEvents.append(step.kvEvents);
      this.#metrics?.kvEvents.inc(step.kvEvents.length);
    }
    if (step.forwardPass !== null) {
      this.passes.publish(step.forwardPass);
      this.#metrics?.stepSeconds.observe(step.forwardPass.durationUs / 1e6);
    }
    this.#o.onStepEnd();
  }

  #addTokens({ handles, tokenIds, logprobs }: StepBatch): void {
    const entries = logprobs.length === 0 ? null : new Uint32Array(handles.length);
    for (let i = 0; i < handles.length; i++) {
      const sequence = this.#running.get(handles[i] ?? 0);
      if (sequence === undefined) continue;
      if (sequence.outputTokens === 0 && !sequence.selfTest)
        this.#metrics?.firstTokenSeconds.observe((performance.now() - sequence.submittedMs) / 1000);
      sequence.outputTokens++;
      const entry = sequence.sink.addToken(tokenIds[i] ?? 0);
      if (entries !== null) entries[i] = entry;
    }
    this.#metrics?.outputTokens.inc(handles.length);
    for (const { entry, position } of logprobs) {
      const sequence = this.#running.get(handles[entry] ?? 0);
      sequence?.sink.addLogprobs(entries?.[entry] ?? 0, position);
    }
  }

  #finish(finished: Finished): void {
    const sequence = this.#running.get(finished.handle);
    if (sequence === undefined) return;
    const { usage } = finished;
    this.#metrics?.promptTokens.inc(usage.promptTokens);
    this.#metrics?.cachedTokens.inc(usage.cachedTokens);
    const cut = sequence.endsAs !== undefined && finished.reason === FinishReason.CANCELLED;
    const error = cut && sequence.endsAs !== undefined ? toSequenceError(sequence.endsAs) : finished.error;
    this.#end(sequence, {
      reason: cut ? FinishReason.ERROR : finished.reason,
      usage,
      ...(finished.stopTokenId !== null && { stopTokenId: finished.stopTokenId }),
      ...(error !== null && { error }),
      ...(finished.handoff !== null && { handoff: finished.handoff }),
    });
  }

  #end(sequence: RunningSequence, info: FinishedInfo): void {
    clearTimeout(sequence.deadline);
    this.#running.delete(sequence.handle);
    this.#unindex(sequence);
    this.#lastActivityMs = performance.now();
    const outcome = outcomeOf(info);
    if (!sequence.selfTest) this.#metrics?.requests(outcome);
    sequence.span.setAttributes({ 'stator.output_tokens': sequence.outputTokens, 'stator.outcome': outcome });
    if (info.error !== undefined)
      sequence.span.setStatus({ code: SpanStatusCode.ERROR, message: info.error.message ?? '' });
    sequence.span.end();
    sequence.sink.finished(info);
  }

  #unindex(sequence: RunningSequence): void {
    const { requestId } = sequence.request;
    const sequences = this.#byRequestId.get(requestId);
    if (sequences === undefined) return;
    sequences.delete(sequence);
    if (sequences.size === 0) this.#byRequestId.delete(requestId);
  }

  #refused(sequence: RunningSequence, error: StatorError): void {
    if (!sequence.selfTest) this.#metrics?.requests(error.code);
    sequence.span.setStatus({ code: SpanStatusCode.ERROR, message: error.message });
    sequence.span.end();
  }

  #onFatal(cause: Error): void {
    if (this.#failed !== undefined) return;
    const error = new StatorError('engine_failed', `the engine of ${this.card.name} failed: ${cause.message}`, {
      cause,
      retryable: true,
    });
    this.#failed = error;
    for (const sequence of [...this.#running.values()]) {
      const usage = create(UsageSchema, {
        promptTokens: sequence.request.tokenIds.length,
        outputTokens: sequence.outputTokens,
      });
      this.#end(sequence, { reason: FinishReason.ERROR, usage, error: toSequenceError(error) });
    }
    this.#o.onStepEnd();
    this.#o.onFatal(error);
  }
}

const reasonNames: Readonly<Partial<Record<FinishReason, string>>> = {
  [FinishReason.STOP]: 'stop',
  [FinishReason.LENGTH]: 'length',
  [FinishReason.CANCELLED]: 'cancelled',
  [FinishReason.ERROR]: 'internal',
  [FinishReason.HANDOFF]: 'handoff',
};

function outcomeOf(info: FinishedInfo): string {
  const code = info.error?.code ?? '';
  return code === '' ? (reasonNames[info.reason ?? FinishReason.UNSPECIFIED] ?? 'unknown') : code;
}
