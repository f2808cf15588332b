import type { Socket } from 'node:net';
import type { WebSocket } from 'ws';

/** Whoever reads less than this a second does not read. */
const leastBytesPerSecond = 256;

export interface OutgoingOptions {
  /** Milliseconds that a client may read too little before it is cut. */
  readonly slowReaderMs: number;
  /** The client reads too slowly, or does so no longer. */
  onBlocked(blocked: boolean): void;
  /** The client was cut because it did not read. */
  onCut(): void;
}

/** Events to a client. What its connection does not take yet is told by `blocked`: who sends should wait then. */
export class Outgoing {
  readonly #client: WebSocket;
  readonly #socket: Socket;
  readonly #o: OutgoingOptions;
  readonly #waiting: (() => void)[] = [];
  #blocked = false;
  #sent = 0;
  #timer: NodeJS.Timeout | null = null;
  #events = 0;

  constructor(client: WebSocket, socket: Socket, o: OutgoingOptions) {
    this.#client = client;
    this.#socket = socket;
    this.#o = o;
    socket.on('drain', () => this.#unblock());
    client.on('close', () => this.#unblock());
  }

  get blocked(): boolean {
    return this.#blocked;
  }

  send(type: string, fields: Readonly<Record<string, unknown>>): void {
    if (this.#client.readyState !== this.#client.OPEN) return;
    this.#events += 1;
    this.#client.send(JSON.stringify({ type, event_id: `event_${this.#events}`, ...fields }));
    if (this.#socket.writableNeedDrain && !this.#blocked) this.#block();
  }

  /** Resolves once the client has taken what was sent, or is gone. */
  async taken(): Promise<void> {
    if (this.#blocked) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  #block(): void {
    this.#blocked = true;
    this.#o.onBlocked(true);
    this.#watch();
  }

  #watch(): void {
    this.#sent = this.#left();
    this.#timer = setTimeout(() => {
      if (this.#left() - this.#sent >= (leastBytesPerSecond * this.#o.slowReaderMs) / 1000) this.#watch();
      else {
        this.#o.onCut();
        this.#client.terminate();
      }
    }, this.#o.slowReaderMs);
    this.#timer.unref();
  }

  /** Bytes that left this process. */
  #left(): number {
    return this.#socket.bytesWritten - this.#socket.writableLength;
  }

  #unblock(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (!this.#blocked) return;
    this.#blocked = false;
    this.#o.onBlocked(false);
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
