import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

/** The client's `x-request-id` or older `x-dynamo-request-id` where it is short and harmless in headers and logs, else a new one. */
export function requestIdOf({ headers }: IncomingMessage): string {
  return requestIdIn((name) => headers[name]);
}

/** The same by a function that reads one header. */
export function requestIdIn(header: (name: string) => unknown): string {
  for (const name of ['x-request-id', 'x-dynamo-request-id']) {
    const given = header(name);
    if (typeof given === 'string' && /^[\w.:+/=@-]{1,128}$/.test(given)) return given;
  }
  return randomUUID();
}
