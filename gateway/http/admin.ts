import type { IncomingMessage } from 'node:http';
import { StatorError } from '#lib/errors/errors.ts';
import { isLoopback } from '#lib/rpc/address.ts';
import { tokenCheck } from '#lib/rpc/interceptors/auth.ts';

interface AdminSettings {
  readonly internalToken: string | undefined;
}

/**
 * Refuses callers that may not change how the service works: with an internal token whoever does not send it as
 * `authorization: Bearer`, without one whoever is not on this machine. Throws `unauthenticated` or `permission_denied`.
 */
export function requireAdmin(config: AdminSettings, request: IncomingMessage): void {
  if (isAdmin(config, request)) return;
  if (config.internalToken !== undefined)
    throw new StatorError('unauthenticated', 'authorization: Bearer <internal token> is required');
  const message = 'Only callers on this machine may do this: set internal-token to let in others that send it.';
  throw new StatorError('permission_denied', message);
}

/** Whether the caller may see and change how the service works. */
export function isAdmin({ internalToken }: AdminSettings, request: IncomingMessage): boolean {
  if (internalToken !== undefined) return tokenCheck(internalToken)(request.headers.authorization);
  return isLoopback((request.socket.remoteAddress ?? '').replace(/^::ffff:/, ''));
}
