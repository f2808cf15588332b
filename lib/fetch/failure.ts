import { StatorError } from '#lib/errors/errors.ts';

/** Why something was not fetched. */
export type FetchOutcome =
  | 'refused_url'
  | 'refused_address'
  | 'unresolved'
  | 'unreachable'
  | 'status'
  | 'redirects'
  | 'content_type'
  | 'too_large'
  | 'damaged'
  | 'timeout';

/** The caller's URL is at fault, or what lies there. The reason goes along as a fact; addresses and system errors do not. */
export function fetchFailure(reason: FetchOutcome, field: string, message: string, cause?: unknown): StatorError {
  return StatorError.invalid(field, `\`${field}\` ${message}`, {
    facts: { reason },
    ...(cause !== undefined && { cause }),
  });
}
