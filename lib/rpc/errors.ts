import { create } from '@bufbuild/protobuf';
import { Code, ConnectError } from '@connectrpc/connect';
import { type ErrorDetail, ErrorDetailSchema } from '#gen/stator/errors/v1/errors_pb.ts';
import { type ErrorCode, errorClasses, isErrorCode } from '#lib/errors/codes.ts';
import { type ErrorDetails, StatorError } from '#lib/errors/errors.ts';

/** What an error without our detail means: peers of other makes, and what the transport itself says. */
const codeOfGrpc: Readonly<Record<Code, ErrorCode>> = {
  [Code.Canceled]: 'cancelled',
  [Code.Unknown]: 'internal',
  [Code.InvalidArgument]: 'invalid_argument',
  [Code.DeadlineExceeded]: 'deadline_exceeded',
  [Code.NotFound]: 'not_found',
  [Code.AlreadyExists]: 'conflict',
  [Code.PermissionDenied]: 'permission_denied',
  [Code.ResourceExhausted]: 'overloaded',
  [Code.FailedPrecondition]: 'conflict',
  [Code.Aborted]: 'stream_incomplete',
  [Code.OutOfRange]: 'invalid_argument',
  [Code.Unimplemented]: 'unimplemented',
  [Code.Internal]: 'internal',
  [Code.Unavailable]: 'worker_unavailable',
  [Code.DataLoss]: 'internal',
  [Code.Unauthenticated]: 'unauthenticated',
};

/** connect says this, and only this, for a message beyond readMaxBytes. */
const tooLarge = /larger than configured (?:read|write)MaxBytes/;

/**
 * What leaves a server. A StatorError keeps its code and details; a ConnectError, which only connect itself makes, stays;
 * anything else becomes `internal` without its text, which may hold paths.
 */
export function toConnectError(thrown: unknown): ConnectError {
  if (thrown instanceof StatorError)
    return new ConnectError(
      thrown.message,
      errorClasses[thrown.code].grpc,
      undefined,
      [{ desc: ErrorDetailSchema, value: toErrorDetail(thrown) }],
      thrown,
    );
  if (thrown instanceof ConnectError)
    return tooLarge.test(thrown.rawMessage)
      ? toConnectError(new StatorError('payload_too_large', thrown.rawMessage))
      : thrown;
  return toConnectError(new StatorError('internal', 'internal error', { cause: thrown }));
}

/** What a client throws: the StatorError that the server threw, or the nearest to what the transport says. */
export function fromConnectError(thrown: unknown): StatorError {
  if (thrown instanceof StatorError) return thrown;
  const error = ConnectError.from(thrown);
  const [detail] = error.findDetails(ErrorDetailSchema);
  if (detail !== undefined && isErrorCode(detail.code))
    return fromErrorDetail(detail.code, error.rawMessage, detail, thrown);
  const code = tooLarge.test(error.rawMessage) ? 'payload_too_large' : codeOfGrpc[error.code];
  return fromErrorDetail(code, error.rawMessage, detail, thrown);
}

function toErrorDetail(error: StatorError): ErrorDetail {
  return create(ErrorDetailSchema, {
    code: error.code,
    factsJson: error.facts === undefined ? '' : JSON.stringify(error.facts),
    ...(error.field !== undefined && { field: error.field }),
    ...(error.retryAfterMs !== undefined && { retryAfterMs: Math.ceil(error.retryAfterMs) }),
    ...(error.retryable !== undefined && { retryable: error.retryable }),
  });
}

function fromErrorDetail(
  code: ErrorCode,
  message: string,
  detail: ErrorDetail | undefined,
  cause?: unknown,
): StatorError {
  const facts = parseFacts(detail?.factsJson);
  const details: ErrorDetails = {
    ...(cause !== undefined && { cause }),
    ...(detail?.field !== undefined && { field: detail.field }),
    ...(detail?.retryAfterMs !== undefined && { retryAfterMs: detail.retryAfterMs }),
    ...(detail?.retryable !== undefined && { retryable: detail.retryable }),
    ...(facts !== undefined && { facts }),
  };
  return new StatorError(code, message, details);
}

/** Facts of an error as they travel; undefined for what is none. */
export function parseFacts(json: string | undefined): Record<string, unknown> | undefined {
  if (json === undefined || json === '') return undefined;
  try {
    const facts: unknown = JSON.parse(json);
    return typeof facts === 'object' && facts !== null ? { ...facts } : undefined;
  } catch {
    return undefined;
  }
}
