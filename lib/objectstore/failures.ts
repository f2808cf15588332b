import type { ErrorCode } from '#lib/errors/codes.ts';
import type { Failure } from './backend.ts';
import { WrongLength } from './read-into.ts';

const codes: Readonly<Record<number, ErrorCode>> = {
  301: 'invalid_argument',
  307: 'invalid_argument',
  400: 'invalid_argument',
  401: 'unauthenticated',
  403: 'permission_denied',
  404: 'not_found',
  409: 'conflict',
  412: 'conflict',
  413: 'payload_too_large',
  416: 'invalid_argument',
  501: 'unimplemented',
};

/** What an answer with an error status means. `name` is the service's own word for it. */
export function statusFailure(status: number, name: string): Failure {
  const message = `HTTP ${status} ${name}`;
  const code = codes[status];
  if (code !== undefined) return { code, message, transient: false, notApplied: true };
  const refused = status === 429 || status === 503;
  if (refused || status === 408 || status >= 500)
    return { code: 'storage_unavailable', message, transient: true, notApplied: refused };
  return { code: 'backend_protocol', message, transient: false, notApplied: true };
}

const unreachable = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH']);
const cut = new Set([
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'ECONNABORTED',
  'ERR_STREAM_PREMATURE_CLOSE',
  'EADDRNOTAVAIL',
]);

/** What the end of a connection means; anything else is `backend_protocol` and named by its class only. */
export function connectionFailure(error: Error): Failure {
  const failure = (message: string, notApplied = false): Failure => {
    return { code: 'storage_unavailable', message, transient: true, notApplied };
  };
  if (error instanceof WrongLength) return failure(`the answer was cut: ${error.message}`);
  const code = systemCode(error);
  if (code !== undefined && unreachable.has(code)) return failure(code, true);
  if (code !== undefined && cut.has(code)) return failure(`the connection was cut (${code})`);
  if (error.message === 'aborted' || error.message === 'socket hang up') return failure('the connection was cut');
  return { code: 'backend_protocol', message: error.name, transient: false, notApplied: false };
}

/** Libraries wrap what the socket said, several times over. */
function systemCode(error: unknown, depth = 0): string | undefined {
  if (!(error instanceof Error) || depth > 4) return undefined;
  const { code, cause } = error as NodeJS.ErrnoException;
  if (typeof code === 'string' && (unreachable.has(code) || cut.has(code))) return code;
  const inner = error instanceof AggregateError ? error.errors[0] : cause;
  return systemCode(inner, depth + 1);
}
