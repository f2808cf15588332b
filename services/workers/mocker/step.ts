import { create } from '@bufbuild/protobuf';
import { type FinishReason, SequenceErrorSchema, UsageSchema } from '#gen/stator/engine/v1/generate_pb.ts';
import { errorClasses } from '#lib/errors/codes.ts';
import type { StatorError } from '#lib/errors/errors.ts';
import type { Finished, KvEventChange, Prefilled, StepBatch, TokenLogprobs } from '../common/engine.ts';
import type { MockerSequence } from './sequence.ts';

/** Collects what one step does. */
export class StepBuilder {
  readonly #startMs = performance.now();
  readonly #startUnixUs = BigInt(Date.now()) * 1000n;
  #handles: Uint32Array;
  #tokenIds: Uint32Array;
  #count = 0;
  readonly prefilled: Prefilled[] = [];
  readonly finished: Finished[] = [];
  readonly logprobs: TokenLogprobs[] = [];
  prefillSequences = 0;
  prefillTokens = 0;
  decodeSequences = 0;
  decodeContextTokens = 0;

  constructor(capacity: number) {
    this.#handles = new Uint32Array(capacity);
    this.#tokenIds = new Uint32Array(capacity);
  }

  get tokens(): number {
    return this.#count;
  }

  get startMs(): number {
    return this.#startMs;
  }

  addToken(sequence: MockerSequence, tokenId: number): void {
    if (this.#count === this.#handles.length) this.#grow();
    this.#handles[this.#count] = sequence.handle;
    this.#tokenIds[this.#count] = tokenId;
    const position = sequence.logprobs(tokenId);
    if (position !== null) this.logprobs.push({ entry: this.#count, position });
    this.#count++;
  }

  addPrefilled(sequence: MockerSequence): void {
    this.prefilled.push({
      handle: sequence.handle,
      cachedTokens: sequence.cachedTokens,
      queueUs: microseconds(sequence.startedMs - sequence.submittedMs),
      prefillUs: microseconds(performance.now() - sequence.startedMs),
      promptLogprobs: sequence.promptLogprobs(),
    });
  }

  finish(sequence: MockerSequence, reason: FinishReason, o: { stopTokenId?: number; error?: StatorError } = {}): void {
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
      handoff: null,
    });
  }

  build(
    kvEvents: readonly KvEventChange[],
    state: { queued: readonly MockerSequence[]; activeBlocks: number },
  ): StepBatch {
    const idle = this.prefillSequences + this.decodeSequences === 0;
    return {
      handles: this.#handles.subarray(0, this.#count),
      tokenIds: this.#tokenIds.subarray(0, this.#count),
      prefilled: this.prefilled,
      finished: this.finished,
      logprobs: this.logprobs,
      kvEvents,
      forwardPass: idle
        ? null
        : {
            dataParallelRank: 0,
            startUnixUs: this.#startUnixUs,
            durationUs: microseconds(performance.now() - this.#startMs),
            prefillSequences: this.prefillSequences,
            prefillTokens: this.prefillTokens,
            decodeSequences: this.decodeSequences,
            decodeContextTokens: BigInt(this.decodeContextTokens),
            queuedSequences: state.queued.length,
            queuedTokens: BigInt(state.queued.reduce((sum, sequence) => sum + sequence.tokens.length, 0)),
            activeKvBlocks: BigInt(state.activeBlocks),
          },
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

function microseconds(milliseconds: number): number {
  return Math.max(0, Math.round(milliseconds * 1000));
}

function sequenceError(error: StatorError) {
  const retryable = error.retryable ?? errorClasses[error.code].retryable;
  return create(SequenceErrorSchema, { code: error.code, message: error.message, retryable });
}
