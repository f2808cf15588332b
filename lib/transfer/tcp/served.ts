// The side that lends memory: answers what one connected peer asks for.
import { timingSafeEqual } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { isErrorCode } from '#lib/errors/codes.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { Ledger } from '../ledger.ts';
import { inside, type OwnRegion, type RegionTable, revoked } from '../regions.ts';
import { maxNotificationBytes } from '../transfer.ts';
import { decodePieces, type Frame, frameTypes, maxPayloadBytes, type WirePiece } from './frames.ts';
import { Scatter } from './scatter.ts';
import { Wire } from './wire.ts';

const MAX_REQUESTS = 64;
const NOTHING = Buffer.alloc(0);

export interface Lender {
  readonly token: Buffer;
  readonly table: RegionTable;
  readonly ledger: Ledger;
  readonly onNotification: ((from: string, message: Uint8Array) => void) | undefined;
  /** Time for a peer to greet, and to take the next bytes that it asked for. */
  readonly stallMs: number;
}

interface Request {
  /** Where data of a write goes. */
  readonly scatter: Scatter | undefined;
  /** Regions that a read is about. */
  readonly reads: ReadonlySet<OwnRegion>;
  cancelled: boolean;
}

export class Served {
  readonly #lender: Lender;
  readonly #wire: Wire;
  readonly #requests = new Map<number, Request>();
  /** Reads whose last bytes the system has not taken; some of them have been cancelled. */
  readonly #sending = new Set<Request>();
  #from: string | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(lender: Lender, socket: Duplex, onEnd: () => void) {
    this.#lender = lender;
    this.#wire = new Wire(socket, {
      data: (id, bytes) => this.#data(id, bytes),
      frame: (frame) => this.#take(frame),
      end: () => {
        clearTimeout(this.#timer);
        for (const id of [...this.#requests.keys()]) this.#finish(id);
        onEnd();
      },
    });
    this.#watch();
  }

  destroy(): void {
    this.#wire.destroy();
  }

  /** Whether bytes of the region may be on their way to this peer. */
  reads(region: OwnRegion): boolean {
    return [...this.#sending].some((request) => request.reads.has(region));
  }

  #take({ type, id, payload }: Frame): void {
    if (this.#from === undefined) {
      this.#greet(type, payload);
      return;
    }
    if (type === frameTypes.read) this.#begin(id, payload, false);
    else if (type === frameTypes.write) this.#begin(id, payload, true);
    else if (type === frameTypes.end) this.#stored(id);
    else if (type === frameTypes.cancel) this.#finish(id);
    else if (type === frameTypes.notify) this.#notified(id, payload);
    else throw new StatorError('backend_protocol', `The peer sent a frame of unknown type ${type}.`);
  }

  /** A greeting holds the token out of the metadata, then the peer's name. */
  #greet(type: number, payload: Buffer): void {
    const { token } = this.#lender;
    const given = payload.subarray(0, token.length);
    if (type !== frameTypes.hello || given.length !== token.length || !timingSafeEqual(given, token))
      throw new StatorError('unauthenticated', 'The peer does not know the token.');
    clearTimeout(this.#timer);
    this.#from = payload.subarray(token.length, token.length + 256).toString();
    this.#wire.post(frameTypes.welcome, 0, NOTHING);
  }

  #begin(id: number, payload: Buffer, write: boolean): void {
    if (this.#requests.has(id)) throw new StatorError('backend_protocol', `Request ${id} is running already.`);
    const pieces = decodePieces(payload);
    if (this.#requests.size >= MAX_REQUESTS) {
      this.#fail(id, new StatorError('overloaded', 'Too many transfers.'));
      return;
    }
    const wrong = pieces.find((piece) => !this.#lends(piece));
    if (wrong !== undefined) {
      this.#fail(id, revoked());
      return;
    }
    if (write && pieces.some(({ region }) => this.#lender.table.get(region)?.isReadOnly === true)) {
      this.#fail(id, new StatorError('permission_denied', 'The memory is only lent to be read.'));
      return;
    }
    const request: Request = {
      scatter: write ? this.#scatter(pieces) : undefined,
      reads: new Set(write ? [] : pieces.flatMap(({ region }) => this.#lender.table.get(region) ?? [])),
      cancelled: false,
    };
    this.#requests.set(id, request);
    this.#lender.ledger.serving += 1;
    if (!write) this.#stream(id, pieces, request).catch((error: unknown) => this.#fail(id, StatorError.from(error)));
  }

  #lends({ region, offset, bytes }: WirePiece): boolean {
    const own = this.#lender.table.get(region);
    return own !== undefined && inside(offset, bytes, own.ref.bytes);
  }

  #scatter(pieces: readonly WirePiece[]): Scatter {
    return new Scatter(
      pieces.map(({ region, offset, bytes }) => ({
        offset,
        bytes,
        buffer: () => this.#lender.table.get(region)?.buffer,
      })),
    );
  }

  /** Gives bytes to the system as they lie; the regions stay borrowed until it has taken the last of them. */
  async #stream(id: number, pieces: readonly WirePiece[], request: Request): Promise<void> {
    const scatter = this.#scatter(pieces);
    const returns = [...request.reads].map((region) => region.borrow());
    let taken = Promise.resolve();
    this.#sending.add(request);
    try {
      for (
        let parts = scatter.nextParts(maxPayloadBytes);
        parts.length > 0;
        parts = scatter.nextParts(maxPayloadBytes)
      ) {
        if (request.cancelled) return;
        this.#watch();
        const { promise, resolve } = Promise.withResolvers<void>();
        taken = promise;
        await this.#wire.sendParts(frameTypes.data, id, parts, resolve);
        clearTimeout(this.#timer);
      }
      await taken;
      if (request.cancelled) return;
      // Memory that was taken back on the way may have changed before it was sent.
      if ([...request.reads].some(({ isEnding }) => isEnding)) throw revoked();
      this.#finish(id);
      this.#wire.post(frameTypes.end, id, NOTHING);
    } finally {
      taken.then(() => {
        this.#sending.delete(request);
        for (const give of returns) give();
      });
    }
  }

  /** Cuts off a peer that neither greets nor takes what it asked for. */
  #watch(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#wire.destroy(), this.#lender.stallMs);
  }

  #data(id: number, payload: Buffer): void {
    if (this.#from === undefined) throw new StatorError('unauthenticated', 'The peer did not greet.');
    const scatter = this.#requests.get(id)?.scatter;
    if (scatter === undefined) return;
    try {
      scatter.store(payload);
    } catch (error) {
      this.#fail(id, StatorError.from(error));
    }
  }

  #stored(id: number): void {
    const scatter = this.#requests.get(id)?.scatter;
    if (scatter === undefined) return;
    if (!scatter.complete) {
      this.#fail(id, new StatorError('stream_incomplete', 'Data is missing.'));
      return;
    }
    this.#finish(id);
    this.#wire.post(frameTypes.end, id, NOTHING);
  }

  #notified(id: number, payload: Buffer): void {
    if (payload.length > maxNotificationBytes) {
      this.#fail(id, StatorError.invalid('message', 'It is too long.'));
      return;
    }
    this.#wire.post(frameTypes.end, id, NOTHING);
    this.#lender.onNotification?.(this.#from ?? '', Uint8Array.from(payload));
  }

  #fail(id: number, error: StatorError): void {
    this.#finish(id);
    this.#wire.post(frameTypes.failure, id, Buffer.from(JSON.stringify({ code: error.code, message: error.message })));
  }

  #finish(id: number): void {
    const request = this.#requests.get(id);
    if (request === undefined) return;
    request.cancelled = true;
    this.#requests.delete(id);
    this.#lender.ledger.serving -= 1;
  }
}

/** The error in a failure frame. */
export function failureOf(payload: Buffer): StatorError {
  const { code, message }: { code?: unknown; message?: unknown } = JSON.parse(payload.toString());
  const known = typeof code === 'string' && isErrorCode(code) ? code : 'backend_protocol';
  return new StatorError(known, `The peer says: ${String(message)}`);
}
