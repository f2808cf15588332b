import type { IncomingMessage } from 'node:http';
import { StatorError } from '#lib/errors/errors.ts';
import { isLoopback } from '#lib/rpc/address.ts';
import { tokenCheck } from '#lib/rpc/interceptors/auth.ts';

/**
 * Refuses callers that may not change how the service works: with an internal token whoever does not send it as
 * `authorization: Bearer`, without one whoever is not on this machine. Throws `unauthenticated` or `permission_denied`.
 */
export function requireAdmin(config: { readonly internalToken: string | undefined }, request: IncomingMessage): void {
  const { internalToken } = config;
  if (internalToken !== undefined) {
    if (tokenCheck(internalToken)(request.headers.authorization)) return;
    throw new StatorError('unauthenticated', 'authorization: Bearer <internal token> is required');
  }
  const address = (request.socket.remoteAddress ?? '').replace(/^::ffff:/, '');
  if (isLoopback(address)) return;
  const message = 'Only callers on this machine may do this: set internal-token to let in others that send it.';
  throw new StatorError('permission_denied', message);
}
