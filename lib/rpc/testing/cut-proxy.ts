import { once } from 'node:events';
import net, { type AddressInfo, type Socket } from 'node:net';

/** For tests: a TCP proxy whose connections can be cut, and that can stop taking new ones or passing bytes. */
export class CutProxy {
  readonly #server: net.Server;
  readonly #sockets = new Set<Socket>();
  /** Whether new connections are dropped at once. */
  refusing = false;

  private constructor(target: number) {
    this.#server = net.createServer((inbound) => {
      if (this.refusing) {
        inbound.destroy();
        return;
      }
      const outbound = net.connect(target, '127.0.0.1');
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
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
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
    this.cut();
    this.#server.close();
    await once(this.#server, 'close');
  }
}
