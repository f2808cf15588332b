import { create } from '@bufbuild/protobuf';
import {
  FinishReason,
  type PositionLogprobs,
  PositionLogprobsSchema,
  SequenceErrorSchema,
  UsageSchema,
} from '#gen/stator/engine/v1/generate_pb.ts';
import { errorClasses } from '#lib/errors/codes.ts';
import type { NativeFinished, NativePositionLogprobs, NativeStep } from '#native/llamacpp/index.ts';
import type { Finished, StepBatch } from '../common/engine.ts';
import { toKvEventChange } from './kv-mirror.ts';
import { fromNative } from './native-errors.ts';

const reasons = [FinishReason.STOP, FinishReason.LENGTH, FinishReason.CANCELLED, FinishReason.ERROR] as const;

export function toStepBatch(step: NativeStep): StepBatch {
  const { pass, load } = step;
  return {
    handles: step.handles,
    tokenIds: step.tokenIds,
    prefilled: step.prefilled.map((prefilled) => ({
      ...prefilled,
      promptLogprobs: prefilled.promptLogprobs?.map(toPositionLogprobs) ?? null,
    })),
    finished: step.finished.map(toFinished),
    logprobs: step.logprobs.map(({ entry, position }) => ({ entry, position: toPositionLogprobs(position) })),
    kvEvents: step.kv.map(toKvEventChange),
    forwardPass:
      pass === null
        ? null
        : {
            dataParallelRank: 0,
            startUnixUs: pass.startUnixUs,
            durationUs: pass.durationUs,
            prefillSequences: pass.prefillSequences,
            prefillTokens: pass.prefillTokens,
            decodeSequences: pass.decodeSequences,
            decodeContextTokens: BigInt(pass.decodeContextTokens),
            queuedSequences: load.queuedSequences,
            queuedTokens: BigInt(load.queuedTokens),
            activeKvBlocks: BigInt(load.activeBlocks),
          },
  };
}

function toPositionLogprobs(position: NativePositionLogprobs): PositionLogprobs {
  return create(PositionLogprobsSchema, {
    chosen: { ...position.chosen },
    top: position.top.map((top) => ({ ...top })),
  });
}

export function toFinished(finished: NativeFinished): Finished {
  const error = finished.error === null ? null : fromNative(finished.error);
  return {
    handle: finished.handle,
    reason: reasons[finished.reason] ?? FinishReason.ERROR,
    stopTokenId: finished.stopTokenId,
    error:
      error === null
        ? null
        : create(SequenceErrorSchema, {
            code: error.code,
            message: error.message,
            retryable: errorClasses[error.code].retryable,
            field: error.field ?? '',
          }),
    usage: create(UsageSchema, {
      promptTokens: finished.promptTokens,
      outputTokens: finished.outputTokens,
      cachedTokens: finished.cachedTokens,
    }),
    handoff: null,
  };
}
