import type { TlsFiles } from './tls.ts';

/** Where a service is and how to speak with it. */
export interface RpcTarget {
  /** host:port, as an Instance has it. */
  readonly address: string;
  /** Set: TLS. An empty object trusts the system's authorities. */
  readonly tls?: TlsFiles | undefined;
  /** Sent as `authorization: Bearer`. */
  readonly internalToken?: string | undefined;
}
