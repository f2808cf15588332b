import type { Instance } from '#gen/stator/discovery/v1/discovery_pb.ts';
import type { RpcTarget } from '#lib/rpc/target.ts';
import type { TlsFiles } from '#lib/rpc/tls.ts';

/** The settings that protect a port and that are shown to the ports of others. */
export interface SecurityConfig {
  readonly tlsCert: string | undefined;
  readonly tlsKey: string | undefined;
  readonly tlsCa: string | undefined;
  readonly tlsReloadSeconds?: number;
  readonly internalToken: string | undefined;
}

interface ServerTls {
  tls?: TlsFiles;
  tlsReloadMs?: number;
}

/** What an internal port asks of its callers. */
export function serverSecurity(config: SecurityConfig): ServerTls & { internalToken?: string } {
  return { ...serverTls(config), ...token(config) };
}

/** TLS of a port, internal or public; nothing without a certificate. */
export function serverTls(config: SecurityConfig): ServerTls {
  const { tlsCert, tlsKey, tlsReloadSeconds } = config;
  if (tlsCert === undefined && tlsKey === undefined) return {};
  return { tls: tlsFiles(config), ...(tlsReloadSeconds !== undefined && { tlsReloadMs: tlsReloadSeconds * 1000 }) };
}

/** How another service is reached: with TLS where it speaks TLS, by the system's authorities unless one is set. */
export function targetOf(instance: Pick<Instance, 'address' | 'tls'>, config: SecurityConfig): RpcTarget {
  return { address: instance.address, ...(instance.tls ? { tls: tlsFiles(config) } : {}), ...token(config) };
}

function tlsFiles({ tlsCert: cert, tlsKey: key, tlsCa: ca }: SecurityConfig): TlsFiles {
  return {
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(ca === undefined ? {} : { ca }),
  };
}

function token({ internalToken }: SecurityConfig): { internalToken?: string } {
  return internalToken === undefined ? {} : { internalToken };
}
