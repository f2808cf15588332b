import type { Server } from 'node:net';
import type { DescService } from '@bufbuild/protobuf';
import type { ConnectRouter } from '@connectrpc/connect';
import { ServerReflection } from '#gen/grpc/reflection/v1/reflection_pb.ts';
import { Health } from '#gen/health/v1/health_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { counterOf, gaugeOf } from '#lib/telemetry/metrics.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import { formatAddress, type HostPort, isLoopback, parseAddress } from './address.ts';
import { ConnectionLimits } from './connection-limits.ts';
import { Connections } from './connections.ts';
import { defaultHttp, type HttpHandler } from './default-http.ts';
import { HealthState } from './health.ts';
import { requireToken, tokenCheck } from './interceptors/auth.ts';
import { serverErrors } from './interceptors/errors.ts';
import { rpcCounter, serverMetrics } from './interceptors/metrics.ts';
import { checkMaxRequestBytes, DEFAULT_MAX_REQUEST_BYTES } from './interceptors/request-size.ts';
import { serverTracing } from './interceptors/tracing.ts';
import { keepAlive } from './keepalive.ts';
import { cleartextListener, type ListenerOptions, tlsListener, type UpgradeHandler } from './listener.ts';
import { reflection } from './reflection.ts';
import { type NodeHandler, rpcHandler } from './rpc-handler.ts';
import { SlowReaders } from './slow-readers.ts';
import { readTlsMaterial, type TlsFiles } from './tls.ts';
import { watchTlsFiles } from './tls-watch.ts';

export type { HttpHandler, HttpRequest, HttpResponse } from './default-http.ts';
export type { TlsFiles } from './tls.ts';

export interface RpcServerOptions {
  /** host:port; port 0 takes a free one. */
  readonly listen: string;
  /** Adds the services to the router. */
  readonly routes: (router: ConnectRouter) => void;
  /** The same services, for health and reflection. */
  readonly services: readonly DescService[];
  readonly telemetry: Telemetry;
  /** Everything that is not an RPC, over HTTP/1.1 and HTTP/2; false leaves a request to /metrics, /health and /live. Unset: only those. */
  readonly http?: HttpHandler | undefined;
  /** Takes HTTP/1.1 connections that change to another protocol. `stop` waits for them too. Unset: none. */
  readonly upgrades?: UpgradeHandler | undefined;
  /** Set: TLS only; with `ca`, mutual. */
  readonly tls?: TlsFiles | undefined;
  /** Set: RPCs but health, and GET /metrics, must send it as `authorization: Bearer`. */
  readonly internalToken?: string | undefined;
  /** Whether to refuse to bind anything but loopback without token or mutual TLS; default true. False: a public port. */
  readonly requireAuth?: boolean;
  /** Most bytes of one request message; default 32 MiB. */
  readonly maxRequestBytes?: number | undefined;
  /** Longest deadline that a client may ask for, in milliseconds; default: any. */
  readonly maxTimeoutMs?: number;
  /** Milliseconds between HTTP/2 pings, and that the answer may take; default 20 000 and 10 000. */
  readonly keepaliveMs?: number;
  readonly keepaliveTimeoutMs?: number;
  /** Milliseconds that a connection has for its handshake and first bytes, and that HTTP/1.1 headers may take; default 30 000. */
  readonly headersTimeoutMs?: number;
  /** Milliseconds without progress after which an answer is given up whose client does not read; default: never. */
  readonly slowReaderMs?: number;
  /** Milliseconds in which the message of a unary or server-streaming call must have come; default: any. */
  readonly messageTimeoutMs?: number | undefined;
  /** Streams of one HTTP/2 connection at once; default 4096. */
  readonly maxStreams?: number | undefined;
  /** Connections at once, in all and from one address; default and 0: any number. */
  readonly maxConnections?: number;
  readonly maxConnectionsPerAddress?: number;
  /** Milliseconds between looks at the TLS files; default 5000. */
  readonly tlsReloadMs?: number;
}

export interface RpcServer {
  /** host:port, with the port that was taken. */
  readonly address: string;
  readonly port: number;
  /** What health answers, by gRPC and HTTP. True from the start. */
  setServing(serving: boolean): void;
  /** Takes no new connections or RPCs, waits for those in progress, and after `graceMs` aborts them. Idempotent. */
  stop(graceMs: number): Promise<void>;
}

/**
 * Serves gRPC, gRPC-Web, Connect and plain HTTP, over HTTP/1.1 and HTTP/2, on one port, with health and reflection. Throws
 * StatorError `invalid_argument` for an address that cannot be bound or may not be without authentication.
 */
export async function startRpcServer(options: RpcServerOptions): Promise<RpcServer> {
  const bind = parseAddress(options.listen, 'listen');
  checkExposure(bind, options);
  const { log } = options.telemetry;
  const health = new HealthState([...options.services, Health, ServerReflection]);
  const connections = new Connections();
  const shutdown = new AbortController();
  const slowReaders = slowReadersOf(options);
  const listener: ListenerOptions = {
    handler: nodeHandler(options, health, shutdown.signal),
    upgrades: options.upgrades ?? null,
    connections,
    limits: new ConnectionLimits({
      maxConnections: options.maxConnections ?? 0,
      maxPerAddress: options.maxConnectionsPerAddress ?? 0,
      metrics: options.telemetry.metrics,
    }),
    slowReaders,
    maxStreams: options.maxStreams ?? 4096,
    onSession: (session) => keepAlive(session, options.keepaliveMs ?? 20_000, options.keepaliveTimeoutMs ?? 10_000),
    headersTimeoutMs: options.headersTimeoutMs ?? 30_000,
  };
  const { server, close } = createListener(options, listener);
  const port = await bindServer(server, bind).catch((thrown: unknown) => {
    close();
    throw thrown;
  });
  const address = formatAddress(bind.host, port);
  log.debug({ address, tls: options.tls !== undefined }, 'listening');

  const stop = async (graceMs: number): Promise<void> => {
    health.stop();
    close();
    slowReaders?.close();
    const closed = new Promise((resolve) => server.close(resolve));
    const timer = setTimeout(() => {
      log.warn({ address, connections: connections.size }, 'requests still in progress are aborted');
      shutdown.abort(new StatorError('draining', 'server stopped'));
      setImmediate(() => connections.destroy());
    }, graceMs);
    await connections.drain();
    clearTimeout(timer);
    await closed;
  };
  let stopping: Promise<void> | undefined;
  return {
    address,
    port,
    setServing: (serving) => health.setServing(serving),
    stop: (graceMs) => {
      stopping ??= stop(graceMs);
      return stopping;
    },
  };
}

function slowReadersOf({ slowReaderMs: timeoutMs, telemetry }: RpcServerOptions): SlowReaders | null {
  if (timeoutMs === undefined) return null;
  const help = 'Answers given up because their clients did not read them.';
  const cut = counterOf(telemetry.metrics, 'stator_rpc_slow_readers_total', help);
  return new SlowReaders({ timeoutMs, onCut: () => cut.inc() });
}

function checkExposure({ host }: HostPort, options: RpcServerOptions): void {
  if (options.requireAuth === false || isLoopback(host)) return;
  const mutualTls = options.tls?.ca !== undefined;
  if (options.internalToken !== undefined || mutualTls) return;
  throw StatorError.invalid(
    'listen',
    `listen ${JSON.stringify(options.listen)} is reachable from other machines: set internalToken, or tlsCert, tlsKey and tlsCa for mutual TLS, or listen on 127.0.0.1`,
  );
}

function nodeHandler(options: RpcServerOptions, health: HealthState, shutdownSignal: AbortSignal): NodeHandler {
  const { log, metrics, tracer } = options.telemetry;
  const count = rpcCounter(metrics);
  const { internalToken } = options;
  const mayRead = internalToken === undefined ? () => true : tokenCheck(internalToken);
  const byDefault = defaultHttp(metrics, health, mayRead);
  const handler = rpcHandler({
    log,
    messageTimeoutMs: options.messageTimeoutMs,
    shutdownSignal,
    interceptors: [serverMetrics(count), serverTracing(tracer), serverErrors(log)],
    ...(internalToken !== undefined && { requestGate: requireToken(internalToken, count) }),
    ...(options.maxTimeoutMs !== undefined && { maxTimeoutMs: options.maxTimeoutMs }),
    readMaxBytes: checkMaxRequestBytes(options.maxRequestBytes ?? DEFAULT_MAX_REQUEST_BYTES),
    routes: (router) => {
      options.routes(router);
      router.service(Health, health.implementation);
      router.service(ServerReflection, reflection([...options.services, Health, ServerReflection]));
    },
    fallback: (req, res) => {
      if (options.http === undefined || options.http(req, res) === false) byDefault(req, res);
    },
  });
  return options.requireAuth === false ? handler : withoutBrowsers(handler);
}

/**
 * Pages in a browser on this machine reach loopback too, and by a name of their own that leads here no rule of origins
 * stops them. Services send none of these headers; browsers send the first with everything but plain reading.
 */
function withoutBrowsers(handler: NodeHandler): NodeHandler {
  return (req, res) => {
    if (req.headers.origin === undefined && req.headers['sec-fetch-site'] === undefined) {
      handler(req, res);
      return;
    }
    res.statusCode = 403;
    res.setHeader('content-type', 'text/plain');
    res.end('this port is for services, not for pages in browsers\n');
  };
}

function createListener(options: RpcServerOptions, listener: ListenerOptions): { server: Server; close: () => void } {
  const { tls, telemetry } = options;
  if (tls === undefined) return { server: cleartextListener(listener), close: () => {} };
  if (tls.cert === undefined || tls.key === undefined)
    throw StatorError.invalid('tlsCert', 'a TLS server needs tlsCert and tlsKey');
  const server = tlsListener(listener, tls, readTlsMaterial(tls));
  const stale = gaugeOf(telemetry.metrics, 'stator_rpc_tls_stale', 'Whether TLS files changed and cannot be used.');
  stale.set(0);
  const close = watchTlsFiles(tls, options.tlsReloadMs ?? 5000, {
    log: telemetry.log,
    onChange: (material) => server.setSecureContext(material),
    onStale: (isStale) => stale.set(isStale ? 1 : 0),
  });
  return { server, close };
}

async function bindServer(server: Server, { host, port }: HostPort): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    const fail = (cause: NodeJS.ErrnoException): void =>
      reject(
        StatorError.invalid('listen', `cannot listen on ${formatAddress(host, port)}: ${cause.code ?? cause.message}`, {
          cause,
        }),
      );
    server.once('error', fail);
    server.listen({ port, ...(host !== '' && { host }) }, () => {
      server.off('error', fail);
      resolve();
    });
  });
  const bound = server.address();
  return typeof bound === 'object' && bound !== null ? bound.port : port;
}
