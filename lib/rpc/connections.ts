import type { ServerHttp2Session } from 'node:http2';
import type { Socket } from 'node:net';
import type { HttpResponse } from './default-http.ts';

interface Http1Connection {
  /** Requests in progress. */
  active: number;
}

/** The connections of a server, so that it can stop: idle ones at once, busy ones when their last request ends. */
export class Connections {
  readonly #sockets = new Set<Socket>();
  readonly #http1 = new Map<Socket, Http1Connection>();
  readonly #sessions = new Set<ServerHttp2Session>();
  #draining = false;
  #onEmpty: (() => void) | undefined;

  get size(): number {
    return this.#sockets.size;
  }

  add(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once('close', () => {
      this.#sockets.delete(socket);
      this.#http1.delete(socket);
      if (this.#sockets.size === 0) this.#onEmpty?.();
    });
  }

  addSession(session: ServerHttp2Session): void {
    this.#sessions.add(session);
    session.once('close', () => this.#sessions.delete(session));
    if (this.#draining) session.close();
  }

  /** The connection speaks HTTP/1.1. */
  addHttp1(socket: Socket): void {
    this.#http1.set(socket, { active: 0 });
  }

  /** The connection speaks another protocol now: whoever speaks it ends it. */
  upgraded(socket: Socket): void {
    this.#http1.delete(socket);
  }

  /** Counts a request of an HTTP/1.1 connection. */
  track(socket: Socket, res: HttpResponse): void {
    const connection = this.#http1.get(socket);
    if (connection === undefined) return;
    connection.active++;
    if (this.#draining) res.setHeader('connection', 'close');
    res.once('close', () => {
      connection.active--;
      if (this.#draining && connection.active === 0) socket.end();
    });
  }

  /** Asks every connection to end; resolves when none is left. */
  async drain(): Promise<void> {
    this.#draining = true;
    for (const session of this.#sessions) session.close();
    for (const [socket, { active }] of this.#http1) if (active === 0) socket.end();
    if (this.#sockets.size > 0)
      await new Promise<void>((resolve) => {
        this.#onEmpty = resolve;
      });
  }

  destroy(): void {
    for (const session of this.#sessions) session.destroy();
    for (const socket of this.#sockets) socket.destroy();
  }
}
