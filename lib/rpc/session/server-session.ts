import { create } from '@bufbuild/protobuf';
import type { Logger } from 'pino';
import { FinishReason, type PositionLogprobs, SequenceErrorSchema } from '#gen/stator/engine/v1/generate_pb.ts';
import {
  type SessionRequest,
  SlotFinishedSchema,
  SlotLogprobsSchema,
  SlotPrefilledSchema,
  type Submit,
} from '#gen/stator/engine/v1/session_pb.ts';
import { errorClasses } from '#lib/errors/codes.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { FrameRing } from './frame-ring.ts';
import { FrameWriter } from './frame-writer.ts';
import type { SessionMetrics } from './metrics.ts';
import type { FinishedInfo, PrefilledInfo, SequenceRunner, SessionSequence } from './sequence.ts';
import { SessionStream } from './session-stream.ts';

/** What a session needs of its server. */
export interface ServerSessionOptions {
  readonly runner: SequenceRunner;
  readonly metrics: SessionMetrics;
  readonly log: Logger;
  readonly maxSlots: number;
  readonly resumeGraceMs: number;
  readonly maxBufferedBytes: number;
  /** The session has something to flush. */
  readonly touched: (session: ServerSession) => void;
  /** The session is over. */
  readonly ended: (session: ServerSession) => void;
  readonly draining: () => boolean;
}

/** Worker side of one session: its sequences, the frame being filled, the frames not yet acknowledged. */
export class ServerSession {
  readonly id: string;
  readonly gatewayId: string;
  readonly ring = new FrameRing();
  readonly frame = new FrameWriter();
  readonly #o: ServerSessionOptions;
  readonly #sequences = new Map<number, ServerSequence>();
  readonly #endedSlots: number[] = [];
  #stream: SessionStream | undefined;
  #grace: NodeJS.Timeout | undefined;
  #touched = false;
  closed = false;

  constructor(id: string, gatewayId: string, options: ServerSessionOptions) {
    this.id = id;
    this.gatewayId = gatewayId;
    this.#o = options;
    options.metrics.sessions.inc();
  }

  get running(): number {
    return this.#sequences.size;
  }

  /** Whether frames after `lastFrame` are all still here. */
  canResume(lastFrame: number): boolean {
    return !this.closed && lastFrame >= this.ring.acknowledged && lastFrame <= this.ring.newest;
  }

  /** Slots that the gateway has not seen end: running ones and those that end in a frame after `lastFrame`. */
  liveSlots(lastFrame: number): number[] {
    const slots = [...this.#sequences.keys()];
    for (const kept of this.ring.after(lastFrame)) slots.push(...kept.ended);
    return [...new Set([...slots, ...this.#endedSlots])].sort((a, b) => a - b);
  }

  /** Sends over a new stream from the frame after `lastFrame` on; a stream before it ends. */
  attach(lastFrame: number): SessionStream {
    clearTimeout(this.#grace);
    this.#stream?.end(undefined);
    this.#acknowledge(lastFrame);
    this.#stream = new SessionStream(this.ring, lastFrame);
    return this.#stream;
  }

  /** The stream broke: what runs goes on, and the session ends unless it is resumed in time. */
  detach(stream: SessionStream): void {
    stream.end(undefined);
    if (this.closed || this.#stream !== stream) return;
    this.#stream = undefined;
    this.#grace = setTimeout(() => {
      this.#o.log.warn({ session: this.id, gateway: this.gatewayId, running: this.running }, 'session was not resumed');
      this.close(undefined);
    }, this.#o.resumeGraceMs);
    this.#grace.unref();
  }

  /** Handles a message of its current stream; messages of an older one are too late and dropped. */
  receive(stream: SessionStream, request: SessionRequest): void {
    if (this.closed || this.#stream !== stream) return;
    const { message } = request;
    if (message.case === 'submit') this.#submit(message.value);
    else if (message.case === 'cancel') this.#sequences.get(message.value.slot)?.cancel();
    else if (message.case === 'ack' && message.value.frame <= stream.sent)
      this.#acknowledge(Number(message.value.frame));
    else if (message.case === 'ack')
      this.close(StatorError.invalid('ack.frame', `frame ${message.value.frame} was not sent yet`));
    else if (message.case === 'hello')
      this.close(StatorError.invalid('hello', 'a stream has one hello, its first message'));
  }

  notifyDraining(graceMs: number): void {
    this.#stream?.sendDraining(graceMs);
  }

  cancelAll(): void {
    for (const sequence of [...this.#sequences.values()]) sequence.cancel();
  }

  /** Ends the session and its sequences; `error` tells the gateway why. Idempotent. */
  close(error: StatorError | undefined): void {
    if (this.closed) return;
    this.closed = true;
    clearTimeout(this.#grace);
    this.#o.metrics.sessions.dec();
    this.#o.metrics.bufferedBytes.dec(this.ring.bytes);
    this.#o.metrics.slots.dec(this.#sequences.size);
    this.#o.metrics.lost.inc(this.#sequences.size);
    this.#stream?.end(error);
    this.#stream = undefined;
    this.ring.clear();
    this.#o.ended(this);
    this.cancelAll();
    this.#sequences.clear();
  }

  touch(): void {
    if (this.#touched) return;
    this.#touched = true;
    this.#o.touched(this);
  }

  /** Sends what was collected since the last flush as one frame. */
  flush(): void {
    this.#touched = false;
    if (this.closed || this.frame.empty) return;
    const { metrics } = this.#o;
    const number = this.ring.newest + 1;
    const tokens = this.frame.tokens;
    const bytes = this.frame.take(number);
    if (this.ring.bytes + bytes.length > this.#o.maxBufferedBytes) {
      this.#overflow(bytes.length);
      return;
    }
    this.ring.push({ number, bytes, ended: this.#endedSlots.splice(0) });
    metrics.frames.inc();
    metrics.tokens.inc(tokens);
    metrics.bufferedBytes.inc(bytes.length);
    this.#stream?.wake();
  }

  finish(sequence: ServerSequence, info: FinishedInfo): void {
    if (this.closed || this.#sequences.get(sequence.slot) !== sequence) return;
    this.#sequences.delete(sequence.slot);
    this.#endedSlots.push(sequence.slot);
    this.#o.metrics.slots.dec();
    this.frame.finished.push(create(SlotFinishedSchema, { ...info, slot: sequence.slot }));
    this.touch();
  }

  #submit({ slot, request }: Submit): void {
    if (request === undefined) {
      this.close(StatorError.invalid('submit.request', 'submit.request is required'));
      return;
    }
    if (this.#sequences.has(slot) || this.#endedSlots.includes(slot)) {
      this.close(StatorError.invalid('submit.slot', `slot ${slot} is in use: its terminal entry was not sent yet`));
      return;
    }
    const sequence = new ServerSequence(this, this.#o.runner, slot);
    this.#sequences.set(slot, sequence);
    this.#o.metrics.slots.inc();
    try {
      this.#refuseWhenFull();
      this.#o.runner.submit(sequence, request);
    } catch (thrown) {
      this.#refuse(sequence, thrown);
    }
  }

  #refuseWhenFull(): void {
    if (this.#o.draining()) throw new StatorError('draining', 'worker is draining and takes no new sequences');
    if (this.#sequences.size > this.#o.maxSlots)
      throw new StatorError('overloaded', `session runs ${this.#o.maxSlots} sequences already`, {
        facts: { limit: this.#o.maxSlots },
      });
  }

  #refuse(sequence: ServerSequence, thrown: unknown): void {
    const error = StatorError.from(thrown);
    const foreign = !(thrown instanceof StatorError);
    if (foreign) this.#o.log.error({ err: thrown }, 'submit failed');
    sequence.finished({
      reason: FinishReason.ERROR,
      error: create(SequenceErrorSchema, {
        code: error.code,
        message: foreign ? 'internal error' : error.message,
        retryable: error.retryable ?? errorClasses[error.code].retryable,
        field: error.field ?? '',
      }),
    });
    sequence.flush();
  }

  #acknowledge(frame: number): void {
    const before = this.ring.bytes;
    this.ring.acknowledge(frame);
    this.#o.metrics.bufferedBytes.dec(before - this.ring.bytes);
  }

  #overflow(bytes: number): void {
    const held = this.ring.bytes;
    const error = new StatorError(
      'slow_reader',
      `gateway left ${held} bytes of frames unacknowledged; ${bytes} more exceed maxBufferedBytes ${this.#o.maxBufferedBytes}`,
      { facts: { limit: this.#o.maxBufferedBytes, held } },
    );
    this.#o.log.warn({ err: error, session: this.id, gateway: this.gatewayId }, 'session ended');
    this.close(error);
  }
}

class ServerSequence implements SessionSequence {
  readonly slot: number;
  readonly #session: ServerSession;
  readonly #runner: SequenceRunner;
  #finished = false;
  #cancelled = false;

  constructor(session: ServerSession, runner: SequenceRunner, slot: number) {
    this.slot = slot;
    this.#session = session;
    this.#runner = runner;
  }

  get gatewayId(): string {
    return this.#session.gatewayId;
  }

  get cancelled(): boolean {
    return this.#cancelled;
  }

  addToken(tokenId: number): number {
    if (this.#finished || this.#session.closed) return 0;
    this.#session.touch();
    return this.#session.frame.addToken(this.slot, tokenId);
  }

  addLogprobs(entry: number, position: PositionLogprobs): void {
    if (this.#finished || this.#session.closed) return;
    this.#session.frame.logprobs.push(create(SlotLogprobsSchema, { entry, position }));
  }

  prefilled(info: PrefilledInfo): void {
    if (this.#finished || this.#session.closed) return;
    this.#session.frame.prefilled.push(create(SlotPrefilledSchema, { ...info, slot: this.slot }));
    this.#session.touch();
  }

  finished(info: FinishedInfo): void {
    if (this.#finished) return;
    this.#finished = true;
    this.#session.finish(this, info);
  }

  flush(): void {
    this.#session.flush();
  }

  cancel(): void {
    if (this.#cancelled || this.#finished) return;
    this.#cancelled = true;
    this.#runner.cancel(this);
  }
}
