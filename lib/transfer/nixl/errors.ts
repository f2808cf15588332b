import type { ErrorCode } from '#lib/errors/codes.ts';
import { StatorError } from '#lib/errors/errors.ts';

const codes: Readonly<Record<string, ErrorCode>> = {
  invalid_argument: 'invalid_argument',
  not_found: 'not_found',
  in_use: 'conflict',
  canceled: 'cancelled',
  deadline_exceeded: 'deadline_exceeded',
  backend_failed: 'worker_unavailable',
  closed: 'cancelled',
};

/** What native/nixl threw, in the codes of lib/errors, with NIXL's own status among the facts. */
export function fromNixl(thrown: unknown): StatorError {
  if (!(thrown instanceof Error) || thrown.name !== 'NixlError' || !('code' in thrown)) return StatorError.from(thrown);
  const status = 'status' in thrown ? thrown.status : null;
  const code = codes[String(thrown.code)] ?? 'internal';
  return new StatorError(code, thrown.message, { cause: thrown, facts: { status } });
}
