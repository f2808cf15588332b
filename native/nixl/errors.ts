/** What a rejected call of this addon carries: `instanceof Error`, name `NixlError`. */
export interface NixlError extends Error {
  readonly code: NixlErrorCode;
  /** NIXL's own name of the status; null where the failure is not NIXL's. */
  readonly status: NixlStatus | null;
  /** The argument at fault. */
  readonly field: string | null;
}

export type NixlErrorCode =
  | 'library_missing'
  | 'library_unsuitable'
  | 'invalid_argument'
  | 'not_found'
  | 'not_ready'
  | 'in_use'
  | 'canceled'
  | 'deadline_exceeded'
  | 'backend_failed'
  | 'no_telemetry'
  | 'closed'
  | 'internal';

/** Names of nixl_status_t. The C ABI reports many causes as a failed back end; the addon names those it can tell apart. */
export type NixlStatus =
  | 'NIXL_ERR_INVALID_PARAM'
  | 'NIXL_ERR_BACKEND'
  | 'NIXL_ERR_NOT_FOUND'
  | 'NIXL_ERR_MISMATCH'
  | 'NIXL_ERR_NOT_ALLOWED'
  | 'NIXL_ERR_UNKNOWN'
  | 'NIXL_ERR_CANCELED'
  | 'NIXL_ERR_NO_TELEMETRY';

export function isNixlError(error: unknown): error is NixlError {
  return error instanceof Error && error.name === 'NixlError';
}
