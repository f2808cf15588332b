import { FinishReason } from '#gen/stator/engine/v1/generate_pb.ts';
import type { SlotFinished } from '#gen/stator/engine/v1/session_pb.ts';
import { errorClasses, isErrorCode } from '#lib/errors/codes.ts';
import { StatorError } from '#lib/errors/errors.ts';

/** Whether another worker may succeed. */
export function isRetryable(error: StatorError): boolean {
  return error.retryable ?? errorClasses[error.code].retryable;
}

/** The error of a sequence that ended neither by stop nor by length. */
export function engineError(finished: SlotFinished): StatorError {
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
