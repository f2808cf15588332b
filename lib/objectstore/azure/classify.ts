import type { Failure } from '../backend.ts';
import { connectionFailure, statusFailure } from '../failures.ts';

export class NoLifecycle extends Error {}

interface RestError extends Error {
  readonly statusCode?: number;
  readonly code?: string;
  readonly details?: { readonly errorCode?: string };
}

/** Azure says 409 where S3 says 412, and 403 for a wrong key. */
export function classifyAzure(thrown: unknown): Failure {
  if (thrown instanceof NoLifecycle) {
    const message = 'Azure sets lifecycle rules on the account, by its management interface';
    return { code: 'unimplemented', message, transient: false, notApplied: true };
  }
  const error = thrown as RestError;
  const name = error.details?.errorCode ?? error.code ?? error.name;
  if (error.statusCode === undefined) return connectionFailure(error);
  if (name === 'Md5Mismatch') return { code: 'checksum_mismatch', message: name, transient: true, notApplied: true };
  if (name === 'AuthenticationFailed' || name === 'AuthorizationFailure')
    return { code: 'unauthenticated', message: name, transient: false, notApplied: true };
  return statusFailure(error.statusCode, name);
}
