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
  return isLocal(request.socket.remoteAddress ?? '') && !isForAnother(request);
}

function isLocal(address: string): boolean {
  return isLoopback(address.replace(/^::ffff:/, ''));
}

/** Headers of proxies that pass on what others asked. */
const proxied = ['forwarded', 'via', 'x-forwarded-for', 'x-forwarded-host', 'x-real-ip'];

/**
 * Whether a connection from this machine carries somebody else's request: a proxy's, or one that a page of another origin
 * makes a browser send, by a name of its own that leads here or across origins.
 */
function isForAnother({ headers }: IncomingMessage): boolean {
  if (proxied.some((name) => headers[name] !== undefined)) return true;
  const authority = headers[':authority'] ?? headers.host;
  if (typeof authority === 'string' && !isLocalAuthority(authority)) return true;
  const { origin } = headers;
  const isOwnOrigin = origin === undefined || [`http://${authority}`, `https://${authority}`].includes(origin);
  return !isOwnOrigin || headers['sec-fetch-site'] === 'cross-site';
}

function isLocalAuthority(authority: string): boolean {
  const host = authority.replace(/:\d{1,5}$/, '').replace(/^\[(.*)\]$/, '$1');
  return isLoopback(host.toLowerCase());
}
