import { FinishReason } from '#gen/stator/engine/v1/generate_pb.ts';
import type { SlotFinished } from '#gen/stator/engine/v1/session_pb.ts';
import { errorClasses, isErrorCode } from '#lib/errors/codes.ts';
import { StatorError } from '#lib/errors/errors.ts';

/** Whether another worker may succeed. */
export function isRetryable(error: StatorError): boolean {
  return error.retryable ?? errorClasses[error.code].retryable;
}

/**
 * The error of a sequence that ended neither by stop nor by length. `guidedField`: what the client calls the constraint
 * that engines call `guided`.
 */
export function engineError(finished: SlotFinished, guidedField: string): StatorError {
  const { error } = finished;
  if (error === undefined) {
    const cancelled = finished.reason === FinishReason.CANCELLED;
    const message = cancelled
      ? 'The worker cancelled the sequence.'
      : 'The worker ended the sequence without a reason.';
    return new StatorError(cancelled ? 'cancelled' : 'backend_protocol', message);
  }
  const code = isErrorCode(error.code) ? error.code : 'engine_failed';
  const field = guidedField !== '' && /^guided\b/.test(error.field) ? guidedField : error.field;
  return new StatorError(code, error.message, { retryable: error.retryable, ...(field === '' ? {} : { field }) });
}
