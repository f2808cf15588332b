import { create, fromBinary } from '@bufbuild/protobuf';
import type { Logger } from 'pino';
import type { GenerateRequest } from '#gen/stator/engine/v1/generate_pb.ts';
import {
  CancelSchema,
  FrameAckSchema,
  SessionHelloSchema,
  type SessionRequest,
  SessionRequestSchema,
  SessionResponseSchema,
  type SessionWelcome,
  SubmitSchema,
} from '#gen/stator/engine/v1/session_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import type { RpcTarget } from '../target.ts';
import { Backoff } from './backoff.ts';
import { ClientSequence, type SequenceEvents, type SequenceRef, silentEvents } from './events.ts';
import { FrameDispatch } from './frame-dispatch.ts';
import { FrameReader } from './frame-reader.ts';
import { grpcLink } from './grpc-link.ts';
import type { OpenLink, SessionLink } from './link.ts';
import { type SessionMetrics, sessionMetrics } from './metrics.ts';
import { SlotTable } from './slot-table.ts';
import { checkFrameVersion, FRAME_VERSION } from './version.ts';

export type { SequenceEvents, SequenceRef } from './events.ts';
export type SessionState = 'connecting' | 'ready' | 'reconnecting' | 'closed';

export interface EngineSessionOptions {
  readonly target: RpcTarget;
  /** Identifier of this gateway process, for the worker's logs. */
  readonly gatewayId: string;
  readonly telemetry: Telemetry;
  /** Instance that must answer; another one at the address is treated as no answer. Unset: any. */
  readonly instanceId?: bigint;
  /** Called whenever `state` or `draining` changed. */
  readonly onStateChange?: (state: SessionState) => void;
  /** First and longest wait before connecting again; default 50 ms and 5000 ms. */
  readonly backoffMinMs?: number;
  readonly backoffMaxMs?: number;
  /** Milliseconds that a connection has until the worker's welcome; default 5000. */
  readonly connectTimeoutMs?: number;
  /** Milliseconds of silence after which the connection is probed, and that the answer may take; default 10 000 and 5000. */
  readonly keepaliveMs?: number;
  readonly keepaliveTimeoutMs?: number;
  /** Connection to use instead of gRPC to the target: for tests and benchmarks. */
  readonly openLink?: OpenLink;
}

/** Frames and bytes after which an acknowledgement is due. */
const ACK_FRAMES = 32;
const ACK_BYTES = 64 * 1024;

/**
 * Gateway side of EngineService.Session: one stream to one worker, for many sequences. It connects at once and again whenever
 * the connection breaks; within the worker's grace period the session resumes and no sequence notices. Sequences are lost
 * sooner where that is out of question: the address refuses connections, or what answers does not know the session.
 */
export class EngineSession {
  readonly #o: EngineSessionOptions;
  readonly #log: Logger;
  readonly #metrics: SessionMetrics;
  readonly #openLink: OpenLink;
  readonly #backoff: Backoff;
  readonly #slots = new SlotTable();
  readonly #reader = new FrameReader();
  readonly #dispatch: FrameDispatch;
  readonly #waiting = new Set<() => void>();
  #state: SessionState = 'connecting';
  #draining = false;
  #link: SessionLink | undefined;
  #sessionId = '';
  #lastFrame = 0;
  #ackedFrame = 0;
  #bytesSinceAck = 0;
  #maxSlots = 0;
  #graceMs = 0;
  #lastError: StatorError | undefined;
  #retryTimer: NodeJS.Timeout | undefined;
  #connectTimer: NodeJS.Timeout | undefined;
  #graceTimer: NodeJS.Timeout | undefined;

  constructor(options: EngineSessionOptions) {
    this.#o = options;
    this.#log = options.telemetry.log.child({ worker: options.target.address });
    this.#metrics = sessionMetrics(options.telemetry.metrics, 'gateway');
    this.#openLink =
      options.openLink ??
      grpcLink({
        target: options.target,
        keepaliveMs: options.keepaliveMs ?? 10_000,
        keepaliveTimeoutMs: options.keepaliveTimeoutMs ?? 5000,
      });
    this.#backoff = new Backoff(options.backoffMinMs ?? 50, options.backoffMaxMs ?? 5000);
    this.#dispatch = new FrameDispatch({
      slots: this.#slots,
      log: this.#log,
      release: (sequence) => this.#release(sequence),
      fail: (sequence, error) => this.#fail(sequence, error),
    });
    this.#metrics.sessions.inc();
    this.#connect();
  }

  get state(): SessionState {
    return this.#state;
  }

  /** Whether the worker takes no new sequences; running ones go on. */
  get draining(): boolean {
    return this.#draining;
  }

  /** Sequences without their terminal entry. */
  get inFlight(): number {
    return this.#slots.size;
  }

  /** Why the last connection failed or ended. */
  get lastError(): StatorError | undefined {
    return this.#lastError;
  }

  /** Resolves once the session is ready. Rejects with the signal's reason, or `worker_unavailable` once it is closed. */
  async ready(signal: AbortSignal): Promise<void> {
    while (this.#state !== 'ready') {
      signal.throwIfAborted();
      if (this.#state === 'closed') throw this.#unavailable('session to the worker is closed');
      await this.#changed(signal);
    }
  }

  /**
   * Starts a sequence. Throws StatorError `worker_unavailable` while not connected, `draining` while the worker drains and
   * `overloaded` beyond its slots; refusals by the worker come as onFinished.
   */
  submit(request: GenerateRequest, events: SequenceEvents): SequenceRef {
    if (this.#state !== 'ready') throw this.#unavailable(`session to the worker is ${this.#state}`);
    if (this.#draining) throw new StatorError('draining', 'worker is draining and takes no new sequences');
    if (this.#slots.size >= this.#maxSlots)
      throw new StatorError('overloaded', `session runs ${this.#maxSlots} sequences already`);
    const sequence = new ClientSequence(this.#slots.nextSlot(), request, events);
    this.#slots.add(sequence);
    this.#metrics.slots.inc();
    this.#sendSubmit(sequence);
    return sequence;
  }

  /** Ends a sequence early; its onFinished still follows. Ended ones are ignored. */
  cancel(ref: SequenceRef): void {
    const sequence = this.#slots.get(ref.slot);
    if (sequence !== ref || sequence.cancelled) return;
    sequence.cancelled = true;
    if (this.#state === 'ready') this.#sendCancel(sequence);
  }

  /** Ends the session; sequences still in flight are lost, and the worker cancels them. Idempotent. */
  close(): void {
    if (this.#state === 'closed') return;
    this.#stopTimers();
    const link = this.#link;
    this.#link = undefined;
    link?.end();
    this.#metrics.sessions.dec();
    this.#setState('closed');
    this.#loseAll(new StatorError('stream_incomplete', 'session to the worker was closed'));
  }

  #connect(): void {
    let link: SessionLink | undefined;
    const current = (): boolean => link !== undefined && this.#link === link;
    link = this.#openLink({
      onMessage: (bytes) => {
        if (current()) this.#receive(bytes);
      },
      onEnd: (error, final) => {
        if (current()) this.#broken(error, final);
      },
    });
    this.#link = link;
    this.#connectTimer = setTimeout(
      () => this.#drop(new StatorError('deadline_exceeded', 'worker sent no welcome in time'), false),
      this.#o.connectTimeoutMs ?? 5000,
    );
    const hello = {
      gatewayId: this.#o.gatewayId,
      frameVersion: FRAME_VERSION,
      sessionId: this.#sessionId,
      lastFrame: BigInt(this.#lastFrame),
    };
    this.#send({ case: 'hello', value: create(SessionHelloSchema, hello) });
  }

  #receive(bytes: Uint8Array): void {
    try {
      if (this.#reader.read(bytes)) this.#frame(bytes.length);
      else this.#notice(bytes);
    } catch (thrown) {
      this.#drop(StatorError.from(thrown), true);
    }
  }

  #frame(bytes: number): void {
    const frame = this.#reader;
    if (frame.number <= this.#lastFrame) return;
    if (frame.number !== this.#lastFrame + 1)
      throw new StatorError('backend_protocol', `worker sent frame ${frame.number} after ${this.#lastFrame}`);
    this.#lastFrame = frame.number;
    this.#metrics.frames.inc();
    this.#metrics.tokens.inc(frame.tokens);
    this.#dispatch.dispatch(frame);
    this.#bytesSinceAck += bytes;
    if (this.#lastFrame - this.#ackedFrame >= ACK_FRAMES || this.#bytesSinceAck >= ACK_BYTES) this.#acknowledge();
  }

  #notice(bytes: Uint8Array): void {
    const { message } = fromBinary(SessionResponseSchema, bytes);
    if (message.case === 'welcome') this.#welcome(message.value);
    else if (message.case === 'draining') {
      this.#draining = true;
      this.#log.info({ graceMs: message.value.graceMs }, 'worker drains');
      this.#notify();
    }
  }

  #welcome(welcome: SessionWelcome): void {
    checkFrameVersion(welcome.frameVersion);
    const { instanceId } = this.#o;
    if (instanceId !== undefined && instanceId !== welcome.instanceId)
      throw new StatorError('worker_unavailable', `another worker answers at ${this.#o.target.address}`);
    this.#stopTimers();
    this.#backoff.reset();
    if (!welcome.resumed) {
      if (this.#sessionId !== '') this.#loseAll(lostError('worker no longer knows the session', this.#lastError));
      this.#lastFrame = 0;
    } else this.#metrics.reconnects.inc();
    this.#sessionId = welcome.sessionId;
    this.#ackedFrame = this.#lastFrame;
    this.#bytesSinceAck = 0;
    this.#maxSlots = welcome.maxSlots;
    this.#graceMs = welcome.resumeGraceMs;
    this.#draining = false;
    if (welcome.resumed) this.#sendAgain(new Set(welcome.liveSlots));
    this.#setState('ready');
  }

  /** After a resume: what the broken connection may have swallowed. */
  #sendAgain(known: ReadonlySet<number>): void {
    for (const sequence of this.#slots.all()) {
      if (known.has(sequence.slot)) sequence.request = undefined;
      else if (sequence.request !== undefined) this.#sendSubmit(sequence);
      else this.#lose(sequence, new StatorError('stream_incomplete', 'worker no longer knows the sequence'));
      if (sequence.cancelled) this.#sendCancel(sequence);
    }
  }

  /** The connection is gone. */
  #broken(error: StatorError, final: boolean): void {
    this.#link = undefined;
    this.#lastError = error;
    clearTimeout(this.#connectTimer);
    if (this.#state === 'ready') {
      this.#log.warn({ err: error, inFlight: this.inFlight }, 'connection to the worker broke');
      if (!final)
        this.#graceTimer = setTimeout(
          () => this.#forget(lostError('session could not be resumed in time', this.#lastError)),
          this.#graceMs,
        );
      this.#setState('reconnecting');
    }
    // After the state, so that whoever hears of the loss cannot submit to the connection that is gone.
    if (final && this.#sessionId !== '') this.#forget(lostError('session cannot be resumed', error));
    if (this.#state !== 'closed') this.#retryTimer = setTimeout(() => this.#connect(), this.#backoff.next());
  }

  /** Gives up the connection that is there. */
  #drop(error: StatorError, final: boolean): void {
    const link = this.#link;
    if (link === undefined) return;
    this.#broken(error, final);
    link.destroy();
  }

  /** The session cannot be resumed: its sequences are lost and the next connection begins a new one. */
  #forget(error: StatorError): void {
    clearTimeout(this.#graceTimer);
    this.#sessionId = '';
    this.#lastFrame = 0;
    this.#loseAll(error);
    if (this.#state === 'reconnecting') this.#setState('connecting');
  }

  #acknowledge(): void {
    this.#ackedFrame = this.#lastFrame;
    this.#bytesSinceAck = 0;
    this.#send({ case: 'ack', value: create(FrameAckSchema, { frame: BigInt(this.#lastFrame) }) });
  }

  #sendSubmit(sequence: ClientSequence): void {
    if (sequence.request === undefined) return;
    this.#send({ case: 'submit', value: create(SubmitSchema, { slot: sequence.slot, request: sequence.request }) });
  }

  #sendCancel(sequence: ClientSequence): void {
    this.#send({ case: 'cancel', value: create(CancelSchema, { slot: sequence.slot }) });
  }

  #send(message: SessionRequest['message']): void {
    this.#link?.send(create(SessionRequestSchema, { message }));
  }

  #release(sequence: ClientSequence): void {
    sequence.ended = true;
    this.#slots.remove(sequence);
    this.#metrics.slots.dec();
  }

  /** A callback threw: nobody hears of the sequence again, but its slot stays taken until its terminal entry. */
  #fail(sequence: ClientSequence, error: StatorError): void {
    const { events } = sequence;
    const ended = sequence.ended;
    this.cancel(sequence);
    sequence.events = silentEvents;
    if (!ended) this.#tellLost(sequence, events, error);
  }

  #lose(sequence: ClientSequence, error: StatorError): void {
    this.#release(sequence);
    this.#metrics.lost.inc();
    this.#tellLost(sequence, sequence.events, error);
  }

  #loseAll(error: StatorError): void {
    const lost = this.#slots.all();
    this.#slots.clear();
    this.#metrics.slots.dec(lost.length);
    this.#metrics.lost.inc(lost.length);
    for (const sequence of lost) this.#tellLost(sequence, sequence.events, error);
  }

  #tellLost(sequence: ClientSequence, events: SequenceEvents, error: StatorError): void {
    sequence.ended = true;
    sequence.events = silentEvents;
    try {
      events.onLost(error);
    } catch (thrown) {
      this.#log.error({ err: thrown, slot: sequence.slot }, 'onLost of a sequence failed');
    }
  }

  #setState(state: SessionState): void {
    this.#state = state;
    this.#notify();
  }

  #notify(): void {
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
    this.#o.onStateChange?.(this.#state);
  }

  async #changed(signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const wake = (): void => resolve();
    this.#waiting.add(wake);
    signal.addEventListener('abort', wake, { once: true });
    await promise;
    signal.removeEventListener('abort', wake);
    this.#waiting.delete(wake);
  }

  #stopTimers(): void {
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#connectTimer);
    clearTimeout(this.#graceTimer);
  }

  #unavailable(message: string): StatorError {
    const cause = this.#lastError;
    const reason = cause === undefined ? '' : `: ${cause.message}`;
    return new StatorError('worker_unavailable', message + reason, { ...(cause !== undefined && { cause }) });
  }
}

function lostError(message: string, cause: StatorError | undefined): StatorError {
  const reason = cause === undefined ? '' : `: ${cause.message}`;
  return new StatorError('stream_incomplete', message + reason, { ...(cause !== undefined && { cause }) });
}
