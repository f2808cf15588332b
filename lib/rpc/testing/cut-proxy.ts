import { once } from 'node:events';
import net, { type AddressInfo, type Socket } from 'node:net';

/** For tests: a TCP proxy whose connections can be cut, and that can stop listening, taking new ones or passing bytes. */
export class CutProxy {
  readonly #server: net.Server;
  readonly #sockets = new Set<Socket>();
  /** Port that new connections go to. */
  target: number;
  /** Whether new connections are dropped at once. */
  refusing = false;
  /** Connections dropped because of `refusing`. */
  refused = 0;
  #port = 0;

  private constructor(target: number) {
    this.target = target;
    this.#server = net.createServer((inbound) => {
      if (this.refusing) {
        this.refused++;
        inbound.destroy();
        return;
      }
      const outbound = net.connect(this.target, '127.0.0.1');
      for (const socket of [inbound, outbound]) {
        this.#sockets.add(socket);
        socket.on('error', () => {});
        socket.on('close', () => {
          this.#sockets.delete(socket);
          inbound.destroy();
          outbound.destroy();
        });
      }
      inbound.pipe(outbound);
      outbound.pipe(inbound);
    });
  }

  static async start(target: number): Promise<CutProxy> {
    const proxy = new CutProxy(target);
    await proxy.listen();
    return proxy;
  }

  get address(): string {
    return `127.0.0.1:${this.#port}`;
  }

  /** Listens again, at the same port. */
  async listen(): Promise<void> {
    this.#server.listen(this.#port, '127.0.0.1');
    await once(this.#server, 'listening');
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  /** Ends as a process that is killed: connections break, and the port refuses new ones. */
  async kill(): Promise<void> {
    this.#server.close();
    this.cut();
    await once(this.#server, 'close');
  }

  get connections(): number {
    return this.#sockets.size / 2;
  }

  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  /** Leaves the connections open but passes nothing any more. */
  freeze(): void {
    for (const socket of this.#sockets) {
      socket.unpipe();
      socket.pause();
    }
  }

  async close(): Promise<void> {
    this.refusing = true;
    if (this.#server.listening) await this.kill();
  }
}
