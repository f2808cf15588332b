import { InterceptingCall, type Interceptor } from '@grpc/grpc-js';
import { Etcd3, EtcdLeaseInvalidError } from 'etcd3';
import type { Logger } from 'pino';
import { type EtcdTarget, readCredentials } from './etcd-target.ts';
import { WatchRestart } from './etcd-watch-stream.ts';
import { discoveryClosed } from './validate.ts';

/** What is told of a link, for its process and for metrics. */
export interface LinkMetrics {
  readonly connected: { set(connected: boolean): void };
  readonly reconnects: { inc(): void };
}

export interface EtcdLinkOptions {
  readonly target: EtcdTarget;
  readonly requestTimeoutMs: number;
  readonly log: Logger;
  readonly metrics: LinkMetrics;
}

/** One connection to one endpoint, for as long as it works. */
export interface EtcdConnection {
  readonly etcd: Etcd3;
  readonly endpoint: string;
}

/** Who uses the link, for the one answer to "is the back end there". */
export type LinkUser = 'watch' | 'registration' | 'calls';

/**
 * The process's connection to etcd. It knows one endpoint at a time: whoever finds it broken says so, and the next
 * request goes to the next endpoint over a new TCP connection. etcd3's own reconnecting is thereby out of play: it keeps
 * half-open connections, and a dead member of the list for as long as its circuit breaker likes.
 */
export class EtcdLink {
  readonly #o: EtcdLinkOptions;
  readonly #troubled = new Set<LinkUser>();
  #opening: Promise<EtcdConnection> | undefined;
  #current: EtcdConnection | undefined;
  #generation = 0;
  #next: number;
  #closed = false;

  constructor(o: EtcdLinkOptions) {
    this.#o = o;
    // Not all processes to the first endpoint.
    this.#next = Math.floor(Math.random() * o.target.endpoints.length);
  }

  /** Call options with the deadline of one request. */
  get request(): { deadline: number } {
    return { deadline: Date.now() + this.#o.requestTimeoutMs };
  }

  async connection(): Promise<EtcdConnection> {
    if (this.#closed) throw discoveryClosed();
    if (this.#current !== undefined) return this.#current;
    this.#opening ??= this.#open().finally(() => {
      this.#opening = undefined;
    });
    return this.#opening;
  }

  /** The user works. Once all do, the back end counts as connected. */
  succeeded(user: LinkUser): void {
    if (this.#troubled.delete(user)) {
      this.#o.metrics.reconnects.inc();
      this.#o.log.info({ user }, 'etcd answers again');
    }
    this.#o.metrics.connected.set(this.#troubled.size === 0);
  }

  /** The user met an error on a connection, or while it was opened. A broken connection is given up, for all users. */
  failed(user: LinkUser, error: unknown, connection: EtcdConnection | undefined): void {
    if (this.#closed) return;
    this.#o.metrics.connected.set(false);
    const known = this.#troubled.has(user);
    this.#troubled.add(user);
    this.#o.log[known ? 'debug' : 'warn']({ err: error, user }, 'etcd does not answer as it should, trying on');
    if (connection !== undefined && connection === this.#current && isBroken(error)) this.#drop();
  }

  close(): void {
    this.#closed = true;
    this.#drop();
  }

  #drop(): void {
    this.#current?.etcd.close();
    this.#current = undefined;
  }

  async #open(): Promise<EtcdConnection> {
    const { endpoints, options } = this.#o.target;
    const endpoint = endpoints[this.#next % endpoints.length] ?? '';
    this.#next += 1;
    this.#generation += 1;
    const session: { token?: string } = {};
    const credentials = await readCredentials(this.#o.target);
    const etcd = new Etcd3({
      hosts: endpoint,
      ...(credentials === undefined ? {} : { credentials }),
      grpcOptions: {
        // grpc-js shares TCP connections between equal channels: the generation makes a new one really new.
        'grpc.primary_user_agent': `stator/${this.#generation}`,
        'grpc.max_receive_message_length': -1,
      },
      defaultCallOptions: { interceptors: [addMetadata(session)] },
    });
    try {
      if (options.username !== undefined) {
        // Not through etcd3's own option: it opens a connection for every token and never closes it.
        const login = { name: options.username, password: options.password ?? '' };
        session.token = (await etcd.auth.authenticate(login, this.request)).token;
      }
      if (this.#closed) throw discoveryClosed();
      this.#current = { etcd, endpoint };
      return this.#current;
    } catch (error) {
      etcd.close();
      throw error;
    }
  }
}

/** Whether an error speaks against the connection, and not just against the request. */
function isBroken(error: unknown): boolean {
  if (error instanceof EtcdLeaseInvalidError || error instanceof WatchRestart) return false;
  return !(error instanceof Error && error.message.includes('too many requests'));
}

/**
 * `hasleader` ends streams on a member that lost its cluster; without it such a member serves old data in silence.
 * A refused token is renamed on its way back: by its own name etcd3 would repeat the request at once and without end.
 */
function addMetadata(session: { readonly token?: string }): Interceptor {
  return (options, nextCall) =>
    new InterceptingCall(nextCall(options), {
      start(metadata, _, next) {
        metadata.set('hasleader', 'true');
        if (session.token !== undefined) metadata.set('token', session.token);
        next(metadata, {
          onReceiveStatus(received, pass) {
            const refused = received.details.includes('invalid auth token');
            pass(refused ? { ...received, details: 'etcd no longer knows the session token' } : received);
          },
        });
      },
    });
}
