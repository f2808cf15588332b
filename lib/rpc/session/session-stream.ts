import { create } from '@bufbuild/protobuf';
import { type SessionResponse, SessionResponseSchema } from '#gen/stator/engine/v1/session_pb.ts';
import type { StatorError } from '#lib/errors/errors.ts';
import type { FrameRing } from './frame-ring.ts';

/**
 * What one connection of a session still has to send: a position in the session's ring, so that nothing is queued twice and
 * the ring's bound is the only one. Whoever fills the ring never waits; whoever sends waits in `wait`.
 */
export class SessionStream {
  readonly #ring: FrameRing;
  #sent: number;
  readonly #notices: SessionResponse[] = [];
  #wake: (() => void) | undefined;
  #ended = false;
  #error: StatorError | undefined;

  constructor(ring: FrameRing, lastFrame: number) {
    this.#ring = ring;
    this.#sent = lastFrame;
  }

  get ended(): boolean {
    return this.#ended;
  }

  get error(): StatorError | undefined {
    return this.#error;
  }

  /** Number of the last frame handed out. */
  get sent(): number {
    return this.#sent;
  }

  /** The next message, or undefined while there is none. */
  next(): SessionResponse | undefined {
    if (this.#ended) return undefined;
    const notice = this.#notices.shift();
    if (notice !== undefined) return notice;
    const frame = this.#ring.get(this.#sent + 1);
    if (frame === undefined) return undefined;
    this.#sent = frame.number;
    return encodedFrame(frame.bytes);
  }

  /** Resolves when `next` or `ended` may have changed. */
  wait(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  wake(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  sendDraining(graceMs: number): void {
    this.#notices.push(create(SessionResponseSchema, { message: { case: 'draining', value: { graceMs } } }));
    this.wake();
  }

  end(error: StatorError | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.wake();
  }
}

/** A response whose frame is encoded already, as FrameWriter made it: the generated code writes unknown fields as they are. */
function encodedFrame(bytes: Uint8Array): SessionResponse {
  const response = create(SessionResponseSchema);
  response.$unknown = [{ no: 2, wireType: 2, data: bytes }];
  return response;
}
