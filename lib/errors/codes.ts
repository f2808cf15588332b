import { Code } from '@connectrpc/connect';

/** How one class of error shows on each wire. */
export interface ErrorClass {
  readonly grpc: Code;
  readonly http: number;
  /** `error.type` in OpenAI's shape. */
  readonly openai: string;
  /** `error.type` in Anthropic's shape. */
  readonly anthropic: string;
  /** Whether the same request may succeed on another worker. */
  readonly retryable: boolean;
}

function row(grpc: Code, http: number, openai: string, anthropic: string, retryable = false): ErrorClass {
  return { grpc, http, openai, anthropic, retryable };
}

/** The error table: code → gRPC code, HTTP status, OpenAI and Anthropic types. docs/errors.md is generated from it. */
export const errorClasses = {
  invalid_argument: row(Code.InvalidArgument, 400, 'invalid_request_error', 'invalid_request_error'),
  context_length_exceeded: row(Code.InvalidArgument, 400, 'invalid_request_error', 'invalid_request_error'),
  unsupported: row(Code.InvalidArgument, 400, 'invalid_request_error', 'invalid_request_error'),
  unauthenticated: row(Code.Unauthenticated, 401, 'authentication_error', 'authentication_error'),
  permission_denied: row(Code.PermissionDenied, 403, 'permission_error', 'permission_error'),
  not_found: row(Code.NotFound, 404, 'not_found_error', 'not_found_error'),
  model_not_found: row(Code.NotFound, 404, 'not_found_error', 'not_found_error'),
  method_not_allowed: row(Code.Unimplemented, 405, 'invalid_request_error', 'invalid_request_error'),
  request_timeout: row(Code.DeadlineExceeded, 408, 'timeout_error', 'invalid_request_error'),
  conflict: row(Code.AlreadyExists, 409, 'conflict_error', 'invalid_request_error'),
  payload_too_large: row(Code.ResourceExhausted, 413, 'invalid_request_error', 'request_too_large'),
  unsupported_media_type: row(Code.InvalidArgument, 415, 'invalid_request_error', 'invalid_request_error'),
  headers_too_large: row(Code.ResourceExhausted, 431, 'invalid_request_error', 'invalid_request_error'),
  rate_limited: row(Code.ResourceExhausted, 429, 'rate_limit_error', 'rate_limit_error'),
  queue_timeout: row(Code.ResourceExhausted, 429, 'rate_limit_error', 'rate_limit_error'),
  cancelled: row(Code.Canceled, 499, 'request_cancelled', 'api_error'),
  internal: row(Code.Internal, 500, 'server_error', 'api_error'),
  unimplemented: row(Code.Unimplemented, 501, 'not_implemented_error', 'api_error'),
  backend_protocol: row(Code.Internal, 502, 'server_error', 'api_error'),
  not_ready: row(Code.Unavailable, 503, 'service_unavailable_error', 'overloaded_error', true),
  draining: row(Code.Unavailable, 503, 'service_unavailable_error', 'overloaded_error', true),
  worker_unavailable: row(Code.Unavailable, 503, 'service_unavailable_error', 'overloaded_error', true),
  stream_incomplete: row(Code.Unavailable, 503, 'service_unavailable_error', 'overloaded_error', true),
  engine_failed: row(Code.Internal, 500, 'server_error', 'api_error', true),
  storage_unavailable: row(Code.Unavailable, 503, 'service_unavailable_error', 'overloaded_error'),
  checksum_mismatch: row(Code.DataLoss, 500, 'server_error', 'api_error'),
  deadline_exceeded: row(Code.DeadlineExceeded, 504, 'timeout_error', 'api_error'),
  overloaded: row(Code.ResourceExhausted, 529, 'overloaded_error', 'overloaded_error', true),
  slow_reader: row(Code.Aborted, 499, 'request_cancelled', 'api_error'),
} as const satisfies Record<string, ErrorClass>;

export type ErrorCode = keyof typeof errorClasses;

export function isErrorCode(value: string): value is ErrorCode {
  return Object.hasOwn(errorClasses, value);
}
