import { StatorError } from '#lib/errors/errors.ts';
import type { StreamSettings } from './stream-settings.ts';

/** ZeroMQ takes wildcards and source addresses too: these are not for callers to choose. */
const tcp = /^tcp:\/\/(?:\[[0-9a-f:.]+\]|[0-9a-z._-]+):(\d{1,5})$/i;
const ipc = /^ipc:\/\/[^\s\0*]{1,100}$/;

/** An address that a caller wrote; throws `invalid_argument` that names the field for what the router may not connect to. */
export function checkedEndpoint(
  endpoint: string,
  field: string,
  transports: StreamSettings['engineStreamTransports'],
): string {
  const port = Number(tcp.exec(endpoint)?.[1] ?? 0);
  const kind = port >= 1 && port <= 65_535 ? 'tcp' : ipc.test(endpoint) ? 'ipc' : undefined;
  if (kind === undefined)
    throw StatorError.invalid(field, `\`${field}\`: expected tcp://HOST:PORT or ipc://PATH of an engine`);
  if (!transports.split('+').includes(kind))
    throw StatorError.invalid(field, `\`${field}\`: ${kind}:// is switched off here (--engine-stream-transports)`);
  return endpoint;
}
