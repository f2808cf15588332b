import type { Duplex } from 'node:stream';
import { StatorError } from '#lib/errors/errors.ts';
import { encodeFrame, FrameReader, type FrameSink, frameAround } from './frames.ts';

/** Frames over one socket. Nothing is queued beyond the socket's own high-water mark: `send` waits for the other side. */
export class Wire {
  readonly #socket: Duplex;
  readonly #reader: FrameReader;
  #waiting: (() => void)[] = [];
  #problem: StatorError | undefined;
  readonly #end: () => void;
  readonly #fail: (cause: unknown) => void;

  constructor(socket: Duplex, on: FrameSink & { end: (why: StatorError) => void }) {
    this.#socket = socket;
    this.#reader = new FrameReader({
      data: (id, bytes) => this.#problem === undefined && on.data(id, bytes),
      frame: (frame) => this.#problem === undefined && on.frame(frame),
    });
    const end = (cause?: unknown): void => {
      if (this.#problem !== undefined) return;
      const own = cause instanceof StatorError ? cause : undefined;
      this.#problem = own ?? new StatorError('worker_unavailable', 'The connection to the peer ended.', { cause });
      socket.destroy();
      this.#wake();
      on.end(this.#problem);
    };
    this.#end = () => end();
    this.#fail = end;
    socket.on('data', (chunk: Buffer) => this.take(chunk));
    socket.on('drain', () => this.#wake());
    socket.on('error', end);
    socket.on('close', () => end());
    socket.on('end', () => end());
  }

  /** Bytes that came, where the socket does not give them by events. They may be used again afterwards. */
  take(chunk: Buffer): void {
    if (this.#problem !== undefined) return;
    try {
      this.#reader.push(chunk);
    } catch (error) {
      this.#fail(error);
    }
  }

  get ended(): boolean {
    return this.#problem !== undefined;
  }

  /** Resolves when the socket takes more. Rejects with why the connection ended. */
  async send(type: number, id: number, payload: Uint8Array): Promise<void> {
    if (this.#problem !== undefined) throw this.#problem;
    if (!this.#socket.write(encodeFrame(type, id, payload))) await new Promise<void>((go) => this.#waiting.push(go));
    if (this.#problem !== undefined) throw this.#problem;
  }

  /**
   * The same without copying `parts`: they must stay as they are until `sent` is called, which it always is. Resolves when the
   * socket takes more, which may be earlier.
   */
  async sendParts(type: number, id: number, parts: readonly Uint8Array[], sent: () => void): Promise<void> {
    if (this.#problem !== undefined) {
      sent();
      throw this.#problem;
    }
    const [head, tail] = frameAround(type, id, parts);
    this.#socket.cork();
    this.#socket.write(head);
    for (const part of parts) this.#socket.write(part);
    const isFree = this.#socket.write(tail, sent);
    this.#socket.uncork();
    if (!isFree) await new Promise<void>((go) => this.#waiting.push(go));
    if (this.#problem !== undefined) throw this.#problem;
  }

  /** Small frames that must not wait: cancels and failures. */
  post(type: number, id: number, payload: Uint8Array): void {
    if (this.#problem === undefined) this.#socket.write(encodeFrame(type, id, payload));
  }

  /** Ends at once; `on.end` has been called when it returns. */
  destroy(): void {
    this.#end();
  }

  #wake(): void {
    for (const go of this.#waiting.splice(0)) go();
  }
}
