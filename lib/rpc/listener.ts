import { createServer as createHttp1Server, type IncomingMessage } from 'node:http';
import {
  createServer as createHttp2Server,
  createSecureServer,
  type ServerHttp2Session,
  type Settings,
} from 'node:http2';
import net, { type Server, type Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { ConnectionLimits } from './connection-limits.ts';
import type { Connections } from './connections.ts';
import type { NodeHandler } from './rpc-handler.ts';
import type { SlowReaders } from './slow-readers.ts';
import type { TlsFiles, TlsMaterial } from './tls.ts';

/** Takes connections that ask to change to another protocol, such as WebSocket. */
export interface UpgradeHandler {
  /** Whether a request is for this handler; every other is served as if it asked for no change. */
  accepts(request: IncomingMessage): boolean;
  /** Owns the connection from here on, its end included. `head`: bytes that came behind the request. */
  handle(request: IncomingMessage, socket: Socket, head: Buffer): void;
}

export interface ListenerOptions {
  readonly handler: NodeHandler;
  /** Null: nothing is changed to. */
  readonly upgrades: UpgradeHandler | null;
  readonly connections: Connections;
  readonly limits: ConnectionLimits;
  /** Streams of one HTTP/2 connection at once. */
  readonly maxStreams: number;
  /** Null: clients may take their time. */
  readonly slowReaders: SlowReaders | null;
  readonly onSession: (session: ServerHttp2Session) => void;
  /** Milliseconds that a connection has for its handshake and first bytes, and that HTTP/1.1 headers may take. */
  readonly headersTimeoutMs: number;
}

const PREFACE = 'PRI * HTTP/2.0';
/** Longer than load balancers keep idle connections. */
const keepAliveTimeout = 65_000;

/** A cleartext server that speaks HTTP/1.1 and HTTP/2 on one port: the first bytes of a connection tell which. */
export function cleartextListener(options: ListenerOptions): Server {
  const { headersTimeoutMs } = options;
  const http1 = createHttp1Server(http1Options(headersTimeoutMs), tracked(options));
  takeUpgrades(http1, options);
  const http2 = createHttp2Server({ settings: settingsOf(options) }, tracked(options));
  http2.on('session', (session) => addSession(options, session));
  // A client that breaks off is no fault of the server.
  http2.on('sessionError', () => {});
  const server = net.createServer({ noDelay: true }, (socket) => {
    if (!options.limits.admit(socket)) return;
    options.connections.add(socket);
    socket.on('error', () => socket.destroy());
    firstBytes(socket, options.headersTimeoutMs, (chunk) => {
      const isHttp2 = chunk.toString('latin1', 0, 3) === PREFACE.slice(0, 3);
      if (!isHttp2) options.connections.addHttp1(socket);
      socket.unshift(chunk);
      (isHttp2 ? http2 : http1).emit('connection', socket);
      // The HTTP/1.1 server listens for data but does not undo the pause of whoever looked at the first bytes.
      if (!isHttp2) socket.resume();
    });
  });
  // It never listens itself, and without this event it would not look for connections that send their headers too slowly.
  server.on('listening', () => http1.emit('listening'));
  server.on('close', () => http1.close(() => {}));
  return server;
}

/** A TLS server that speaks both, as ALPN agrees. With `ca`, clients must show a certificate of those authorities. */
export function tlsListener(
  options: ListenerOptions,
  files: TlsFiles,
  material: TlsMaterial,
): ReturnType<typeof createSecureServer> {
  const { headersTimeoutMs, limits } = options;
  const mutual = files.ca !== undefined;
  const server = createSecureServer(
    {
      ...material,
      allowHTTP1: true,
      settings: settingsOf(options),
      requestCert: mutual,
      rejectUnauthorized: mutual,
      handshakeTimeout: headersTimeoutMs,
      ...http1Options(headersTimeoutMs),
    },
    tracked(options),
  );
  takeUpgrades(server, options);
  server.on('connection', (socket: Socket) => void limits.admit(socket));
  server.on('secureConnection', (socket: TLSSocket) => {
    socket.setNoDelay(true);
    socket.on('error', () => socket.destroy());
    options.connections.add(socket);
    if (socket.alpnProtocol !== 'h2') options.connections.addHttp1(socket);
  });
  server.on('session', (session) => addSession(options, session));
  server.on('sessionError', () => {});
  // Handshakes that fail, for example for want of a client certificate.
  server.on('tlsClientError', (_error, socket) => socket.destroy());
  return server;
}

function settingsOf({ maxStreams: maxConcurrentStreams }: ListenerOptions): Settings {
  return { initialWindowSize: 1024 * 1024, maxConcurrentStreams };
}

function http1Options(headersTimeout: number): object {
  return { keepAliveTimeout, headersTimeout, connectionsCheckingInterval: headersTimeout };
}

function tracked({ handler, connections, slowReaders }: ListenerOptions): NodeHandler {
  return (req, res) => {
    slowReaders?.track(res);
    if (req.httpVersionMajor === 1) connections.track(req.socket, res);
    handler(req, res);
  };
}

/** Without the callback Node would hand over every request that asks, and some clients always ask for HTTP/2. */
function takeUpgrades(server: Server, { upgrades, connections }: ListenerOptions): void {
  if (upgrades === null) return;
  Object.assign(server, { shouldUpgradeCallback: (request: IncomingMessage) => upgrades.accepts(request) });
  server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    connections.upgraded(socket);
    upgrades.handle(request, socket, head);
  });
}

function addSession({ connections, onSession }: ListenerOptions, session: ServerHttp2Session): void {
  connections.addSession(session);
  onSession(session);
}

/** Waits until there are enough bytes to tell the protocols apart. */
function firstBytes(socket: Socket, timeoutMs: number, decide: (chunk: Buffer) => void): void {
  let seen: Buffer = Buffer.alloc(0);
  const timer = setTimeout(() => socket.destroy(), timeoutMs);
  timer.unref();
  socket.once('close', () => clearTimeout(timer));
  const onData = (chunk: Buffer): void => {
    seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk]);
    if (seen.length < 3 && PREFACE.startsWith(seen.toString('latin1'))) return;
    socket.off('data', onData);
    socket.pause();
    clearTimeout(timer);
    decide(seen);
  };
  socket.on('data', onData);
}
