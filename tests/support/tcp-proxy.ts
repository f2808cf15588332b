import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

/** A TCP relay on a loopback port whose traffic a test can stop in the ways that networks do. */
export interface TcpProxy {
  readonly port: number;
  /** Connections made so far. */
  readonly accepted: number;
  /** Resets every connection and refuses new ones. */
  cut(): void;
  /** Keeps every connection open and swallows what is sent: a half-open link. New connections are accepted and starve too. */
  freeze(): void;
  /** Ends a cut or a freeze. Connections that starved are reset, as a recovering network does. */
  heal(): void;
  close(): Promise<void>;
}

export interface TcpProxyOptions {
  /**
   * Whether connections end by a reset, or are closed. Node 24 may spin for ever when its process ends after a reset of a
   * socket that was being written to, so that tests with large bodies close.
   */
  readonly reset?: boolean;
}

export async function startTcpProxy(targetPort: number, { reset = true }: TcpProxyOptions = {}): Promise<TcpProxy> {
  const relay = new Relay(targetPort, reset);
  await relay.listen();
  return relay;
}

class Relay implements TcpProxy {
  accepted = 0;
  readonly #targetPort: number;
  readonly #reset: boolean;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #mode: 'open' | 'cut' | 'frozen' = 'open';
  #port = 0;

  constructor(targetPort: number, reset: boolean) {
    this.#targetPort = targetPort;
    this.#reset = reset;
    this.#server = createServer((socket) => this.#accept(socket));
  }

  get port(): number {
    return this.#port;
  }

  async listen(): Promise<void> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    this.#port = address.port;
  }

  cut(): void {
    this.#mode = 'cut';
    this.#resetAll();
  }

  freeze(): void {
    this.#mode = 'frozen';
    for (const socket of this.#sockets) socket.unpipe();
    for (const socket of this.#sockets) socket.on('data', () => undefined);
  }

  heal(): void {
    if (this.#mode === 'frozen') this.#resetAll();
    this.#mode = 'open';
  }

  async close(): Promise<void> {
    this.#server.close();
    this.#resetAll();
  }

  #accept(socket: Socket): void {
    this.accepted += 1;
    this.#hold(socket);
    if (this.#mode === 'cut') {
      this.#end(socket);
      return;
    }
    if (this.#mode === 'frozen') {
      socket.on('data', () => undefined);
      return;
    }
    const upstream = connect(this.#targetPort, '127.0.0.1');
    this.#hold(upstream);
    socket.pipe(upstream).pipe(socket);
    const end = () => {
      socket.destroy();
      upstream.destroy();
    };
    socket.on('close', end);
    upstream.on('close', end);
  }

  #hold(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => this.#sockets.delete(socket));
  }

  #resetAll(): void {
    for (const socket of [...this.#sockets]) this.#end(socket);
  }

  #end(socket: Socket): void {
    if (this.#reset) socket.resetAndDestroy();
    else socket.destroy();
  }
}
