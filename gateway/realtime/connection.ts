import type { Socket } from 'node:net';
import type { RawData, WebSocket } from 'ws';
import { StatorError } from '#lib/errors/errors.ts';
import type { GatewayContext } from '../context.ts';
import { Outgoing } from './outgoing.ts';
import { RealtimeSession, type SessionOptions } from './session.ts';

/** Codes of RFC 6455, section 7.4. */
const closeCodes = { goingAway: 1001, unsupportedData: 1003, policy: 1008 } as const;

/** Milliseconds between pings; a client that has not answered by the next is gone. */
const pingMs = 30_000;
/** Milliseconds that a client has to answer a close. */
const closeMs = 5000;

export type CloseReason = 'client' | 'drained' | 'idle' | 'expired' | 'binary' | 'silent' | 'slow_reader' | 'broken';

/** One connection: its clocks, its order of messages, its end. */
export class RealtimeConnection {
  readonly #ctx: GatewayContext;
  readonly #client: WebSocket;
  readonly #session: RealtimeSession;
  readonly #outgoing: Outgoing;
  readonly #timers: NodeJS.Timeout[] = [];
  #idle: NodeJS.Timeout | null = null;
  #handling: Promise<void> = Promise.resolve();
  #reason: CloseReason | null = null;
  #isExpired = false;
  #alive = true;

  constructor(
    ctx: GatewayContext,
    client: WebSocket,
    socket: Socket,
    o: Omit<SessionOptions, 'outgoing' | 'onRunning'>,
  ) {
    this.#ctx = ctx;
    this.#client = client;
    this.#outgoing = new Outgoing(client, socket, {
      slowReaderMs: ctx.config.slowReaderTimeoutSeconds * 1000,
      // Who does not read answers is not listened to either.
      onBlocked: (blocked) => (blocked ? client.pause() : client.resume()),
      onCut: () => {
        ctx.metrics.slowReaders.inc();
        this.#reason ??= 'slow_reader';
      },
    });
    this.#session = new RealtimeSession(ctx, { ...o, outgoing: this.#outgoing, onRunning: () => this.#rest() });
    client.on('message', (data, isBinary) => this.#receive(data, isBinary));
    client.on('pong', () => {
      this.#alive = true;
    });
    // Bad frames and messages beyond the limit: the connection closes with the right code by itself.
    client.on('error', () => {
      this.#reason ??= 'broken';
      this.#abandon();
    });
  }

  /** `onClosed` is told once why the connection ended. */
  start(onClosed: (reason: CloseReason) => void): void {
    this.#client.on('close', () => onClosed(this.#ended()));
    const { draining, config } = this.#ctx;
    const onDrain = (): void => this.#rest();
    draining.addEventListener('abort', onDrain, { once: true });
    this.#client.on('close', () => draining.removeEventListener('abort', onDrain));
    this.#timers.push(setInterval(() => this.#ping(), pingMs));
    this.#timers.push(
      setTimeout(() => {
        this.#isExpired = true;
        this.#rest();
      }, config.realtimeMaxSeconds * 1000),
    );
    for (const timer of this.#timers) timer.unref();
    this.#session.open();
    this.#rest();
  }

  /** Messages are handled one after the other, in their order. */
  #receive(data: RawData, isBinary: boolean): void {
    if (this.#reason !== null) return;
    if (isBinary) {
      this.#close('binary', closeCodes.unsupportedData, 'Messages are JSON text');
      return;
    }
    this.#rest();
    this.#client.pause();
    this.#handling = this.#handling
      .then(() => this.#session.take(textOf(data)))
      .then(() => {
        if (!this.#outgoing.blocked) this.#client.resume();
      });
  }

  /** Ends what should end as soon as no response is being made, and otherwise waits for the client. */
  #rest(): void {
    if (this.#idle !== null) clearTimeout(this.#idle);
    this.#idle = null;
    if (this.#session.running > 0 || this.#reason !== null) return;
    const { draining, config } = this.#ctx;
    if (draining.aborted) this.#close('drained', closeCodes.goingAway, 'The gateway is shutting down');
    else if (this.#isExpired) this.#expire();
    else {
      const message = `Nothing came for ${config.realtimeIdleSeconds} s`;
      const end = (): void => {
        this.#session.tell(new StatorError('deadline_exceeded', message, { facts: { reason: 'session_idle' } }));
        this.#close('idle', closeCodes.policy, message);
      };
      this.#idle = setTimeout(end, config.realtimeIdleSeconds * 1000);
      this.#idle.unref();
    }
  }

  #expire(): void {
    const message = `The session has lasted ${this.#ctx.config.realtimeMaxSeconds} s, which is the longest it may`;
    this.#session.tell(new StatorError('deadline_exceeded', message, { facts: { reason: 'session_expired' } }));
    this.#close('expired', closeCodes.policy, 'The session has expired');
  }

  #ping(): void {
    if (!this.#alive) {
      this.#reason ??= 'silent';
      this.#client.terminate();
      return;
    }
    this.#alive = false;
    this.#client.ping();
  }

  #close(reason: CloseReason, code: number, text: string): void {
    this.#reason ??= reason;
    this.#client.resume();
    this.#client.close(code, text);
    this.#abandon();
  }

  /** Nothing more will come of it: cancels what is being made, and does not wait long for the client's own close. */
  #abandon(): void {
    const slow = this.#reason === 'slow_reader';
    const message = slow ? 'The client did not read its events.' : 'The client closed the connection.';
    this.#session.end(new StatorError(slow ? 'slow_reader' : 'cancelled', message));
    const timer = setTimeout(() => this.#client.terminate(), closeMs);
    timer.unref();
    this.#timers.push(timer);
  }

  #ended(): CloseReason {
    this.#reason ??= 'client';
    this.#abandon();
    for (const timer of this.#timers) clearTimeout(timer);
    if (this.#idle !== null) clearTimeout(this.#idle);
    return this.#reason;
  }
}

function textOf(data: RawData): string {
  if (Array.isArray(data)) return Buffer.concat(data).toString('utf8');
  return (Buffer.isBuffer(data) ? data : Buffer.from(data)).toString('utf8');
}
