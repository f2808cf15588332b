import { create } from '@bufbuild/protobuf';
import type { EngineStep } from '#core/scheduling/engine/engine-model.ts';
import { type FinishReason, SequenceErrorSchema, UsageSchema } from '#gen/stator/engine/v1/generate_pb.ts';
import type { KvHandoff } from '#gen/stator/transfer/v1/handoff_pb.ts';
import { errorClasses } from '#lib/errors/codes.ts';
import type { StatorError } from '#lib/errors/errors.ts';
import type { Finished, KvEventChange, Prefilled, StepBatch, TokenLogprobs } from '../common/engine.ts';
import type { MockerSequence } from './sequence.ts';

export interface Ending {
  readonly stopTokenId?: number;
  readonly error?: StatorError;
  readonly handoff?: KvHandoff;
}

/** Collects what one step does. */
export class StepBuilder {
  #handles: Uint32Array;
  #tokenIds: Uint32Array;
  #count = 0;
  readonly prefilled: Prefilled[] = [];
  readonly finished: Finished[] = [];
  readonly logprobs: TokenLogprobs[] = [];

  constructor(capacity: number) {
    this.#handles = new Uint32Array(capacity);
    this.#tokenIds = new Uint32Array(capacity);
  }

  get tokens(): number {
    return this.#count;
  }

  addToken(sequence: MockerSequence, tokenId: number): void {
    if (this.#count === this.#handles.length) this.#grow();
    this.#handles[this.#count] = sequence.handle;
    this.#tokenIds[this.#count] = tokenId;
    const position = sequence.logprobs(tokenId);
    if (position !== null) this.logprobs.push({ entry: this.#count, position });
    this.#count++;
  }

  addPrefilled(sequence: MockerSequence, scheduledMs: number): void {
    this.prefilled.push({
      handle: sequence.handle,
      cachedTokens: sequence.cachedTokens,
      queueUs: microseconds(scheduledMs - sequence.submittedMs),
      prefillUs: microseconds(performance.now() - scheduledMs),
      promptLogprobs: sequence.promptLogprobs(),
    });
  }

  finish(sequence: MockerSequence, reason: FinishReason, o: Ending = {}): void {
    this.finished.push({
      handle: sequence.handle,
      reason,
      stopTokenId: o.stopTokenId ?? null,
      error: o.error === undefined ? null : sequenceError(o.error),
      usage: create(UsageSchema, {
        promptTokens: sequence.promptTokens,
        outputTokens: sequence.outputTokens,
        cachedTokens: sequence.cachedTokens,
      }),
      handoff: o.handoff ?? null,
    });
  }

  build(kvEvents: readonly KvEventChange[], forwardPass: StepBatch['forwardPass']): StepBatch {
    return {
      handles: this.#handles.subarray(0, this.#count),
      tokenIds: this.#tokenIds.subarray(0, this.#count),
      prefilled: this.prefilled,
      finished: this.finished,
      logprobs: this.logprobs,
      kvEvents,
      forwardPass,
    };
  }

  #grow(): void {
    const length = Math.max(16, this.#handles.length * 2);
    const handles = new Uint32Array(length);
    const tokenIds = new Uint32Array(length);
    handles.set(this.#handles);
    tokenIds.set(this.#tokenIds);
    this.#handles = handles;
    this.#tokenIds = tokenIds;
  }
}

/** A pass of a rank as workers report it. */
export function forwardPass({ pass, durationMs }: EngineStep, rank: number): StepBatch['forwardPass'] {
  return {
    dataParallelRank: rank,
    startUnixUs: BigInt(Math.round((Date.now() - durationMs) * 1000)),
    durationUs: microseconds(durationMs),
    prefillSequences: pass.prefillSequences,
    prefillTokens: pass.prefillTokens,
    decodeSequences: pass.decodeSequences,
    decodeContextTokens: BigInt(pass.decodeContextTokens),
    queuedSequences: pass.queuedSequences,
    queuedTokens: BigInt(pass.queuedTokens),
    activeKvBlocks: BigInt(pass.activeBlocks),
  };
}

function microseconds(milliseconds: number): number {
  return Math.max(0, Math.round(milliseconds * 1000));
}

function sequenceError(error: StatorError) {
  const retryable = error.retryable ?? errorClasses[error.code].retryable;
  return create(SequenceErrorSchema, { code: error.code, message: error.message, retryable });
}
