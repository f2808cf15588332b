import { isIP } from 'node:net';
import { StatorError } from '#lib/errors/errors.ts';

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** Reads `host:port`, `[v6]:port`, or either behind `http://`. Throws StatorError `invalid_argument` that names `field`. */
export function parseAddress(address: string, field: string): HostPort {
  const match = /^(?:https?:\/\/)?(?:\[([0-9a-fA-F:.%]+)\]|([^:/[\]]*)):(\d{1,5})\/?$/.exec(address.trim());
  const port = Number(match?.[3]);
  if (match === null || port > 65_535)
    throw StatorError.invalid(
      field,
      `${field} ${JSON.stringify(address)} is not host:port, for example 127.0.0.1:8080`,
    );
  return { host: match[1] ?? match[2] ?? '', port };
}

/** `host:port`, with brackets around an IPv6 host. */
export function formatAddress(host: string, port: number): string {
  return isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`;
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host);
}
