import { Code } from '@connectrpc/connect';
import { errorClasses } from '#lib/errors/codes.ts';
import type { StatorError } from '#lib/errors/errors.ts';

/** Exit codes of every command. */
export const exitCodes = {
  ok: 0,
  failure: 1,
  usage: 2,
  internal: 70,
  hungUp: 129,
  interrupted: 130,
  terminated: 143,
} as const;

/** Settings or arguments at fault: 2; a bug: 70; anything that the world did to us: 1. */
export function exitCodeOf(error: StatorError): number {
  if (errorClasses[error.code].grpc === Code.InvalidArgument) return exitCodes.usage;
  return error.code === 'internal' && !isSystemError(error.cause) ? exitCodes.internal : exitCodes.failure;
}

/** An error of the operating system, for example EADDRINUSE. */
function isSystemError(cause: unknown): boolean {
  return cause instanceof Error && 'syscall' in cause;
}

/** Ends the process even if something forgot to close a handle; does not keep it alive itself. */
export function guardExit(afterMs: number): void {
  // A service that has stopped must not hang on a leaked socket or timer: this is the one place that forces the end.
  setTimeout(() => process.exit(process.exitCode ?? exitCodes.internal), afterMs).unref();
}
