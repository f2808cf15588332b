import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

/** The client's `x-request-id` or older `x-dynamo-request-id` where it is short and harmless in headers and logs, else a new one. */
export function requestIdOf({ headers }: IncomingMessage): string {
  for (const given of [headers['x-request-id'], headers['x-dynamo-request-id']]) {
    if (typeof given === 'string' && /^[\w.:+/=@-]{1,128}$/.test(given)) return given;
  }
  return randomUUID();
}
