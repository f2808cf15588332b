import { randomUUID } from 'node:crypto';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import type { HandlerContext } from '@connectrpc/connect';
import {
  type SessionHello,
  type SessionRequest,
  type SessionResponse,
  SessionResponseSchema,
} from '#gen/stator/engine/v1/session_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import { type SessionMetrics, sessionMetrics } from './metrics.ts';
import type { SequenceRunner } from './sequence.ts';
import { ServerSession, type ServerSessionOptions } from './server-session.ts';
import type { SessionStream } from './session-stream.ts';
import { negotiateFrameVersion } from './version.ts';

export type { FinishedInfo, PrefilledInfo, SequenceRunner, SessionSequence } from './sequence.ts';

export interface SessionServerOptions {
  readonly instanceId: bigint;
  readonly runner: SequenceRunner;
  readonly telemetry: Telemetry;
  /** Most sequences of one session at once; default 4096. */
  readonly maxSlots?: number;
  /** Milliseconds for which a broken session can be resumed; default 5000. */
  readonly resumeGraceMs?: number;
  /** Most bytes of unacknowledged frames in a session, which ends beyond; default 4 MiB. */
  readonly maxBufferedBytes?: number;
  /** Most sessions at once, broken ones included; default 1024. */
  readonly maxSessions?: number;
  /** Milliseconds that a new stream has for its hello; default 10 000. */
  readonly helloTimeoutMs?: number;
}

/** Worker side of EngineService.Session: every gateway's stream, its sequences, and their frames. */
export class SessionServer {
  readonly #instanceId: bigint;
  readonly #sessions = new Map<string, ServerSession>();
  readonly #metrics: SessionMetrics;
  readonly #maxSessions: number;
  readonly #helloTimeoutMs: number;
  readonly #sessionOptions: ServerSessionOptions;
  #touched: ServerSession[] = [];
  #flushing: ServerSession[] = [];
  #drainingUntil: number | undefined;
  #drainTimer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: SessionServerOptions) {
    this.#instanceId = options.instanceId;
    this.#maxSessions = options.maxSessions ?? 1024;
    this.#helloTimeoutMs = options.helloTimeoutMs ?? 10_000;
    this.#metrics = sessionMetrics(options.telemetry.metrics, 'worker');
    this.#sessionOptions = {
      runner: options.runner,
      metrics: this.#metrics,
      log: options.telemetry.log,
      maxSlots: options.maxSlots ?? 4096,
      resumeGraceMs: options.resumeGraceMs ?? 5000,
      maxBufferedBytes: options.maxBufferedBytes ?? 4 * 1024 * 1024,
      touched: (session) => this.#touched.push(session),
      ended: (session) => this.#sessions.delete(session.id),
      draining: () => this.#drainingUntil !== undefined,
    };
  }

  /** Sessions open, broken ones within their grace period included. */
  get sessions(): number {
    return this.#sessions.size;
  }

  /** Sequences running in all sessions. */
  get running(): number {
    let running = 0;
    for (const session of this.#sessions.values()) running += session.running;
    return running;
  }

  /** The handler of EngineService.Session. */
  async *handle(requests: AsyncIterable<SessionRequest>, context: HandlerContext): AsyncGenerator<SessionResponse> {
    const incoming = requests[Symbol.asyncIterator]();
    const hello = await this.#hello(incoming);
    const { session, resumed } = this.#open(hello);
    const lastFrame = resumed ? Number(hello.lastFrame) : 0;
    const welcome = this.#welcome(session, hello, resumed, lastFrame);
    const stream = session.attach(lastFrame);
    const cut = (): void => session.detach(stream);
    context.signal.addEventListener('abort', cut, { once: true });
    const asJson = context.requestHeader.get('content-type')?.includes('json') ?? false;
    try {
      yield welcome;
      if (this.#drainingUntil !== undefined) session.notifyDraining(this.#drainingLeftMs());
      void this.#receive(session, stream, incoming, context.signal);
      for await (const response of outgoing(stream)) yield asJson ? decoded(response) : response;
    } finally {
      context.signal.removeEventListener('abort', cut);
      session.detach(stream);
    }
  }

  /** Sends one frame to every session that got an entry since the last call: call it at the end of every engine step. */
  flushStep(): void {
    const sessions = this.#touched;
    this.#touched = this.#flushing;
    this.#flushing = sessions;
    for (const session of sessions) session.flush();
    sessions.length = 0;
  }

  /** Takes no new sequences and tells the gateways; those still running after `graceMs` are cancelled. Idempotent. */
  drain(graceMs: number): void {
    if (this.#drainingUntil !== undefined) return;
    this.#drainingUntil = performance.now() + graceMs;
    for (const session of this.#sessions.values()) session.notifyDraining(graceMs);
    this.#drainTimer = setTimeout(() => {
      for (const session of this.#sessions.values()) session.cancelAll();
    }, graceMs);
    this.#drainTimer.unref();
  }

  /** Ends every session; sequences that still run are cancelled and lost to their gateways. Idempotent. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#drainTimer);
    const error = new StatorError('worker_unavailable', 'worker stopped');
    for (const session of [...this.#sessions.values()]) session.close(error);
  }

  async #hello(incoming: AsyncIterator<SessionRequest>): Promise<SessionHello> {
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(
      () => reject(new StatorError('deadline_exceeded', `no hello within ${this.#helloTimeoutMs} ms`)),
      this.#helloTimeoutMs,
    );
    try {
      const first = await Promise.race([incoming.next(), late]);
      if (first.done === true || first.value.message.case !== 'hello')
        throw StatorError.invalid('hello', 'the first message of a session must be its hello');
      return first.value.message.value;
    } finally {
      clearTimeout(timer);
    }
  }

  #open(hello: SessionHello): { session: ServerSession; resumed: boolean } {
    if (this.#closed) throw new StatorError('worker_unavailable', 'worker stopped');
    negotiateFrameVersion(hello.frameVersion);
    const known = this.#sessions.get(hello.sessionId);
    if (known?.canResume(Number(hello.lastFrame)) === true) {
      this.#metrics.reconnects.inc();
      return { session: known, resumed: true };
    }
    known?.close(undefined);
    if (this.#sessions.size >= this.#maxSessions)
      throw new StatorError('overloaded', `worker holds ${this.#maxSessions} sessions already`);
    const session = new ServerSession(randomUUID(), hello.gatewayId, this.#sessionOptions);
    this.#sessions.set(session.id, session);
    return { session, resumed: false };
  }

  #welcome(session: ServerSession, hello: SessionHello, resumed: boolean, lastFrame: number): SessionResponse {
    return create(SessionResponseSchema, {
      message: {
        case: 'welcome',
        value: {
          sessionId: session.id,
          frameVersion: negotiateFrameVersion(hello.frameVersion),
          resumed,
          instanceId: this.#instanceId,
          resumeGraceMs: this.#sessionOptions.resumeGraceMs,
          maxSlots: this.#sessionOptions.maxSlots,
          liveSlots: resumed ? session.liveSlots(lastFrame) : [],
        },
      },
    });
  }

  /** Reads one stream to its end. A gateway that ends its side ends the session; a stream that breaks leaves it to its grace period. */
  async #receive(
    session: ServerSession,
    stream: SessionStream,
    incoming: AsyncIterator<SessionRequest>,
    signal: AbortSignal,
  ): Promise<void> {
    try {
      for (let next = await incoming.next(); next.done !== true; next = await incoming.next())
        session.receive(stream, next.value);
      if (!signal.aborted && !stream.ended) session.close(undefined);
    } catch {
      session.detach(stream);
    }
  }

  #drainingLeftMs(): number {
    return Math.max(0, Math.ceil((this.#drainingUntil ?? 0) - performance.now()));
  }
}

async function* outgoing(stream: SessionStream): AsyncGenerator<SessionResponse> {
  for (;;) {
    const response = stream.next();
    if (response !== undefined) yield response;
    else if (stream.ended) break;
    else await stream.wait();
  }
  if (stream.error !== undefined) throw stream.error;
}

/** Frames are encoded ahead; JSON needs them as messages. */
function decoded(response: SessionResponse): SessionResponse {
  return fromBinary(SessionResponseSchema, toBinary(SessionResponseSchema, response));
}
