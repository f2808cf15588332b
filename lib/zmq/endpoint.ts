import { StatorError } from '#lib/errors/errors.ts';
import { isLoopback } from '#lib/rpc/address.ts';

/**
 * Endpoint of a data parallel rank: engines add the rank to the port. Throws `invalid_argument` for what is no endpoint,
 * and for a rank above 0 where there is no port to add to.
 */
export function endpointOfRank(endpoint: string, rank: number): string {
  const tcp = /^tcp:\/\/(.+):(\d+)$/.exec(endpoint);
  if (tcp === null) {
    if (!/^(ipc|inproc):\/\/.+/.test(endpoint))
      throw StatorError.invalid('endpoint', `${endpoint} is not tcp://HOST:PORT or ipc://PATH`);
    if (rank === 0) return endpoint;
    throw StatorError.invalid('endpoint', `${endpoint} has no port to add data parallel rank ${rank} to`);
  }
  const [, host, basePort] = tcp;
  const port = Number(basePort) + rank;
  if (port > 65535) throw StatorError.invalid('endpoint', `port ${basePort} plus rank ${rank} is above 65535`);
  return `tcp://${host}:${port}`;
}

/** Whether other machines reach what is bound there. */
export function isOpenEndpoint(endpoint: string): boolean {
  const host = /^tcp:\/\/(.+):\d+$/.exec(endpoint)?.[1]?.replace(/^\[|\]$/g, '');
  return host !== undefined && host !== 'lo' && !isLoopback(host);
}
