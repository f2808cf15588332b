import type { Failure } from '../backend.ts';
import { connectionFailure, statusFailure } from '../failures.ts';

export class DeleteFailed extends Error {
  override readonly name: string;

  constructor(count: number, reason: string) {
    super(`${count} objects were not deleted: ${reason}`);
    this.name = reason;
  }
}

interface SdkError extends Error {
  readonly $metadata?: { readonly httpStatusCode?: number };
}

const passing = new Set(['SlowDown', 'Throttling', 'ThrottlingException', 'RequestTimeout', 'InternalError']);
const unauthenticated = new Set([
  'InvalidAccessKeyId',
  'SignatureDoesNotMatch',
  'ExpiredToken',
  'InvalidToken',
  'CredentialsProviderError',
  'RequestTimeTooSkewed',
]);
const corrupted = new Set(['BadDigest', 'InvalidDigest', 'XAmzContentChecksumMismatch', 'XAmzContentSHA256Mismatch']);

/** Names of S3's errors decide first, then the HTTP status, then what the connection did. */
export function classifyS3(thrown: unknown): Failure {
  const error = thrown as SdkError;
  const status = error.$metadata?.httpStatusCode;
  const failure = (code: Failure['code'], transient = false): Failure => {
    return { code, message: error.name, transient, notApplied: !transient };
  };
  if (unauthenticated.has(error.name)) return failure('unauthenticated');
  if (corrupted.has(error.name)) return failure('checksum_mismatch', true);
  if (passing.has(error.name))
    return { ...failure('storage_unavailable', true), notApplied: error.name === 'SlowDown' };
  if (error instanceof DeleteFailed)
    return {
      ...failure(error.name === 'AccessDenied' ? 'permission_denied' : 'storage_unavailable'),
      message: error.message,
    };
  if (status !== undefined && status >= 300) return statusFailure(status, error.name);
  return connectionFailure(error);
}
