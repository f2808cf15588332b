// The side that asks: pulls from and pushes to one lender over one connection.
import type { Duplex } from 'node:stream';
import { StatorError } from '#lib/errors/errors.ts';
import { type Attempt, type Ledger, orAborted } from '../ledger.ts';
import {
  maxNotificationBytes,
  type Peer,
  type Piece,
  type TransferBackend,
  type TransferOptions,
} from '../transfer.ts';
import { encodePieces, type Frame, frameTypes, maxPayloadBytes } from './frames.ts';
import { Scatter } from './scatter.ts';
import { failureOf } from './served.ts';
import { Wire } from './wire.ts';

const NOTHING = Buffer.alloc(0);

interface Request {
  /** Where answers with data go. */
  readonly into: Scatter | undefined;
  readonly resolve: () => void;
  readonly reject: (error: StatorError) => void;
}

/** Connects a socket that reads into one buffer again and again with who takes the bytes. */
export interface Inbox {
  take: (bytes: Buffer) => void;
}

export interface TcpPeerOptions {
  readonly name: string;
  readonly socket: Duplex;
  /** Where bytes come from that the socket does not give by events. */
  readonly inbox: Inbox;
  readonly ledger: Ledger;
  readonly onEnd: () => void;
}

export class TcpPeer implements Peer {
  readonly name: string;
  readonly backend: TransferBackend = 'tcp';
  readonly #ledger: Ledger;
  readonly #wire: Wire;
  readonly #requests = new Map<number, Request>();
  #nextId = 1;

  constructor({ name, socket, inbox, ledger, onEnd }: TcpPeerOptions) {
    this.name = name;
    this.#ledger = ledger;
    this.#wire = new Wire(socket, {
      data: (id, bytes) => this.#store(id, bytes),
      frame: (frame) => this.#take(frame),
      end: (why) => {
        for (const request of this.#requests.values()) request.reject(why);
        this.#requests.clear();
        onEnd();
      },
    });
    inbox.take = (bytes) => this.#wire.take(bytes);
  }

  get ended(): boolean {
    return this.#wire.ended;
  }

  /** Shows the token and waits for the welcome. */
  greet(token: Uint8Array, ownName: string, { signal }: Attempt): Promise<void> {
    const hello = Buffer.concat([token, Buffer.from(ownName)]);
    return this.#ask(0, undefined, signal, () => this.#wire.send(frameTypes.hello, 0, hello));
  }

  pull(pieces: readonly Piece[], options: TransferOptions = {}): Promise<void> {
    return this.#ledger.transfer('pull', pieces, options, async (attempt) => {
      const id = this.#next();
      const into = localScatter(pieces);
      await this.#ask(id, into, attempt.signal, () => this.#wire.send(frameTypes.read, id, remoteList(pieces)));
      if (options.notification !== undefined) await this.#notify(options.notification, attempt);
    });
  }

  push(pieces: readonly Piece[], options: TransferOptions = {}): Promise<void> {
    return this.#ledger.transfer('push', pieces, options, async (attempt) => {
      const id = this.#next();
      await this.#ask(id, undefined, attempt.signal, () => this.#stream(id, pieces));
      if (options.notification !== undefined) await this.#notify(options.notification, attempt);
    });
  }

  notify(message: Uint8Array, options: Omit<TransferOptions, 'notification'> = {}): Promise<void> {
    return this.#ledger.attempt(options, (attempt) => this.#notify(message, attempt));
  }

  async close(): Promise<void> {
    this.#wire.destroy();
  }

  async #notify(message: Uint8Array, { signal }: Attempt): Promise<void> {
    if (message.byteLength > maxNotificationBytes) throw StatorError.invalid('message', 'At most 64 KiB can be sent.');
    const id = this.#next();
    await this.#ask(id, undefined, signal, () => this.#wire.send(frameTypes.notify, id, message));
  }

  async #stream(id: number, pieces: readonly Piece[]): Promise<void> {
    const from = localScatter(pieces);
    await this.#wire.send(frameTypes.write, id, remoteList(pieces));
    for (let chunk = from.next(maxPayloadBytes); chunk !== undefined; chunk = from.next(maxPayloadBytes)) {
      if (!this.#requests.has(id)) return;
      await this.#wire.send(frameTypes.data, id, chunk);
    }
    await this.#wire.send(frameTypes.end, id, NOTHING);
  }

  /** Sends, then waits for the answer. Whatever ends it early, data that still arrives is dropped. */
  async #ask(id: number, into: Scatter | undefined, signal: AbortSignal, send: () => Promise<void>): Promise<void> {
    const answered = new Promise<void>((resolve, reject) => this.#requests.set(id, { into, resolve, reject }));
    answered.catch(() => {});
    let sent: Promise<void> = Promise.resolve();
    try {
      sent = send();
      // An early answer, for example a refusal, ends a request whose data is still being sent.
      await orAborted(Promise.race([answered, sent.then(() => answered)]), signal);
    } catch (error) {
      if (this.#requests.delete(id) || signal.aborted) this.#wire.post(frameTypes.cancel, id, NOTHING);
      throw error;
    } finally {
      this.#requests.delete(id);
      sent.catch(() => {});
    }
  }

  /** Data for a request that has ended is dropped. */
  #store(id: number, bytes: Buffer): void {
    const request = this.#requests.get(id);
    if (request === undefined) return;
    if (request.into === undefined) throw new StatorError('backend_protocol', 'The peer sent data unasked.');
    request.into.store(bytes);
  }

  #take({ type, id, payload }: Frame): void {
    const request = this.#requests.get(id);
    if (request === undefined) return;
    this.#requests.delete(id);
    if (type === frameTypes.failure) request.reject(failureOf(payload));
    else if (request.into?.complete === false) request.reject(new StatorError('stream_incomplete', 'Data is missing.'));
    else request.resolve();
  }

  #next(): number {
    const id = this.#nextId;
    this.#nextId = id === 0xffff_ffff ? 1 : id + 1;
    return id;
  }
}

function localScatter(pieces: readonly Piece[]): Scatter {
  return new Scatter(
    pieces.map(({ local, localOffset, bytes }) => ({ buffer: () => local.buffer, offset: localOffset, bytes })),
  );
}

function remoteList(pieces: readonly Piece[]): Buffer {
  return encodePieces(
    pieces.map(({ remote, remoteOffset, bytes }) => ({ region: remote.id, offset: remoteOffset, bytes })),
  );
}
