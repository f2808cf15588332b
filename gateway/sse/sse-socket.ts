import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

export interface SseSocketOptions {
  /** Milliseconds without any progress after which a client that does not read is cut. */
  readonly slowReaderTimeoutMs: number;
  /** The client reads again. */
  onDrain(): void;
  /** The client was cut because it did not read. */
  onCut(): void;
}

/** Headers of a streamed answer, which nobody on the way may keep or gather. */
export const eventHeaders = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-cache, no-transform',
  'x-accel-buffering': 'no',
} as const;

/**
 * The body of a streamed answer. node:http writes the head and the end; chunks in between go straight to the socket in
 * HTTP/1.1's chunked framing, one write each, which costs about half of ServerResponse.write. Where the socket is not ours
 * alone (HTTP/2, HTTP/1.0, a pipelined request that waits for its turn) chunks take the ordinary way.
 */
export class SseSocket {
  readonly #response: ServerResponse;
  readonly #direct: boolean;
  readonly #options: SseSocketOptions;
  #socket: Socket | null = null;
  #blocked = false;
  #deadline: NodeJS.Timeout | null = null;
  #progress = -1;
  readonly #onDrain = (): void => this.#drained();

  constructor(request: IncomingMessage, response: ServerResponse, options: SseSocketOptions) {
    this.#response = response;
    this.#direct = request.httpVersion === '1.1';
    this.#options = options;
    response.on('drain', this.#onDrain);
  }

  /** Whether the client reads too slowly now: what comes next should wait for `onDrain`. */
  get blocked(): boolean {
    return this.#blocked;
  }

  get started(): boolean {
    return this.#response.headersSent;
  }

  /** Writes `text`, and the head in front of the first. `ascii`: every character is one byte. */
  write(text: string, ascii: boolean): void {
    const socket = this.#socket ?? this.#begin();
    let accepted: boolean;
    if (socket === null) accepted = this.#response.write(text, ascii ? 'latin1' : 'utf8');
    else if (ascii) accepted = socket.write(`${text.length.toString(16)}\r\n${text}\r\n`, 'latin1');
    else accepted = socket.write(`${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`, 'utf8');
    if (!accepted && !this.#blocked) this.#block();
  }

  end(text: string): void {
    this.#stopWatching();
    this.#response.end(text);
  }

  /** Forgets the connection: nothing more will be written. */
  dispose(): void {
    this.#stopWatching();
    this.#response.off('drain', this.#onDrain);
  }

  /** The socket for direct writes once the head is on its way; null where chunks must take the ordinary way. */
  #begin(): Socket | null {
    const response = this.#response;
    if (response.headersSent) {
      const { socket } = response;
      if (!this.#direct || socket === null || response.writableLength > socket.writableLength) return null;
      this.#socket = socket;
      socket.on('drain', this.#onDrain);
      return socket;
    }
    response.writeHead(200, eventHeaders);
    return null;
  }

  #block(): void {
    this.#blocked = true;
    this.#progress = this.#sent();
    this.#deadline = setTimeout(() => this.#check(), this.#options.slowReaderTimeoutMs);
    this.#deadline.unref();
  }

  /** Bytes that left this process for the client. */
  #sent(): number {
    const socket = this.#response.socket;
    return socket === null ? -1 : (socket.bytesWritten ?? 0) - socket.writableLength;
  }

  #check(): void {
    const sent = this.#sent();
    if (sent > this.#progress) {
      this.#progress = sent;
      this.#deadline = setTimeout(() => this.#check(), this.#options.slowReaderTimeoutMs);
      this.#deadline.unref();
      return;
    }
    this.#options.onCut();
    this.#response.destroy();
  }

  #drained(): void {
    if (!this.#blocked) return;
    this.#blocked = false;
    if (this.#deadline !== null) clearTimeout(this.#deadline);
    this.#deadline = null;
    this.#options.onDrain();
  }

  #stopWatching(): void {
    if (this.#deadline !== null) clearTimeout(this.#deadline);
    this.#deadline = null;
    this.#socket?.off('drain', this.#onDrain);
    this.#socket = null;
  }
}
