import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

/** The client's `x-request-id` where it is short and harmless in headers and logs, else a new one. */
export function requestIdOf(request: IncomingMessage): string {
  const given = request.headers['x-request-id'];
  return typeof given === 'string' && /^[\w.:+/=@-]{1,128}$/.test(given) ? given : randomUUID();
}
