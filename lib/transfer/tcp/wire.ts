import type { Duplex } from 'node:stream';
import { StatorError } from '#lib/errors/errors.ts';
import { encodeFrame, type Frame, FrameReader } from './frames.ts';

/** Frames over one socket. Nothing is queued beyond the socket's own high-water mark: `send` waits for the other side. */
export class Wire {
  readonly #socket: Duplex;
  readonly #reader = new FrameReader();
  #waiting: (() => void)[] = [];
  #problem: StatorError | undefined;
  readonly #end: () => void;

  constructor(socket: Duplex, on: { frame: (frame: Frame) => void; end: (why: StatorError) => void }) {
    this.#socket = socket;
    const end = (cause?: unknown): void => {
      if (this.#problem !== undefined) return;
      const own = cause instanceof StatorError ? cause : undefined;
      this.#problem = own ?? new StatorError('worker_unavailable', 'The connection to the peer ended.', { cause });
      socket.destroy();
      this.#wake();
      on.end(this.#problem);
    };
    this.#end = () => end();
    socket.on('data', (chunk: Buffer) => {
      try {
        for (const frame of this.#reader.push(chunk)) if (this.#problem === undefined) on.frame(frame);
      } catch (error) {
        end(error);
      }
    });
    socket.on('drain', () => this.#wake());
    socket.on('error', end);
    socket.on('close', () => end());
    socket.on('end', () => end());
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
