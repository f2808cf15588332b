import type { ClientSessionOptions } from 'node:http2';
import net from 'node:net';
import tls from 'node:tls';
import type { DescService } from '@bufbuild/protobuf';
import { type Client, createClient, type Interceptor } from '@connectrpc/connect';
import { createGrpcTransport, Http2SessionManager } from '@connectrpc/connect-node';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import { formatAddress, type HostPort, parseAddress } from './address.ts';
import { sendToken } from './interceptors/auth.ts';
import { clientErrors } from './interceptors/client-errors.ts';
import { defaultDeadline } from './interceptors/deadlines.ts';
import { clientTracing } from './interceptors/tracing.ts';
import type { RpcTarget } from './target.ts';
import { readTlsMaterial } from './tls.ts';

export type { RpcTarget } from './target.ts';
export type { TlsFiles } from './tls.ts';

export interface RpcClientOptions {
  /** Deadline of unary calls that set none; default 30 000 ms. */
  readonly defaultTimeoutMs?: number;
  /** Most bytes of one response message; default 64 MiB. */
  readonly maxResponseBytes?: number;
  /** Milliseconds of silence after which the connection is probed, and that the answer may take; default 10 000 and 5000. */
  readonly keepaliveMs?: number;
  readonly keepaliveTimeoutMs?: number;
}

export interface RpcClient<S extends DescService> {
  readonly client: Client<S>;
  /** Ends the connection; calls in progress fail. Idempotent. */
  close(): void;
}

/**
 * A gRPC client of one service over one HTTP/2 connection, opened at the first call and again whenever it is gone. Calls throw
 * StatorErrors. Throws StatorError `invalid_argument` for a bad address or unreadable TLS files.
 */
export function createRpcClient<S extends DescService>(
  service: S,
  target: RpcTarget,
  telemetry: Telemetry,
  options: RpcClientOptions = {},
): RpcClient<S> {
  const address = parseAddress(target.address, 'address');
  if (target.tls !== undefined) readTlsMaterial(target.tls);
  const baseUrl = `${target.tls === undefined ? 'http' : 'https'}://${formatAddress(address.host, address.port)}`;
  const interceptors: Interceptor[] = [clientTracing(telemetry.tracer)];
  if (target.internalToken !== undefined) interceptors.push(sendToken(target.internalToken));
  const sessionManager = new Http2SessionManager(
    baseUrl,
    {
      pingIntervalMs: options.keepaliveMs ?? 10_000,
      pingTimeoutMs: options.keepaliveTimeoutMs ?? 5000,
      // An idle connection is probed before its next call. Probing it all the time fails after close(): connect-node 2.2
      // starts its timer again when the last stream ends, and throws where nothing catches it.
      pingIdleConnection: false,
    },
    { settings: { initialWindowSize: 1024 * 1024 }, createConnection: () => connect(address, target) },
  );
  const transport = createGrpcTransport({
    baseUrl,
    sessionManager,
    interceptors,
    readMaxBytes: options.maxResponseBytes ?? 64 * 1024 * 1024,
    acceptCompression: [],
  });
  const client = createClient(service, clientErrors(defaultDeadline(transport, options.defaultTimeoutMs ?? 30_000)));
  return { client, close: () => sessionManager.abort() };
}

/** Opens the socket of a connection. TLS files are read for each, so that renewed certificates are used. */
function connect(
  { host, port }: HostPort,
  { tls: files }: RpcTarget,
): ReturnType<NonNullable<ClientSessionOptions['createConnection']>> {
  if (files === undefined) return net.connect({ host, port, noDelay: true, autoSelectFamily: true });
  const servername = files.serverName ?? (net.isIP(host) === 0 ? host : undefined);
  return tls.connect({
    ...readTlsMaterial(files),
    host,
    port,
    ALPNProtocols: ['h2'],
    ...(servername !== undefined && { servername }),
  });
}
