import { crc32 } from 'node:zlib';
import { StatorError } from '#lib/errors/errors.ts';

/** Kinds of frames; requests travel from the connecting side, answers and data both ways. */
export const frameTypes = {
  hello: 1,
  welcome: 2,
  read: 3,
  write: 4,
  data: 5,
  end: 6,
  failure: 7,
  cancel: 8,
  notify: 9,
} as const;

export interface Frame {
  readonly type: number;
  /** Number of the request, by the side that connected; 0: none. */
  readonly id: number;
  readonly payload: Buffer;
}

export const maxPayloadBytes = 1024 * 1024;
const LENGTH_BYTES = 4;
const HEADER_BYTES = 9;
const TRAILER_BYTES = 4;
/** Lists of pieces may be longer than data. */
const MAX_FRAME_BYTES = 32 << 20;

/**
 * `u32 bytes after this, u8 type, u32 id, payload, u32 CRC-32 of all before`, little-endian. Copies the payload. Data frames
 * have no CRC of their payload: it would cost more than the way through the system, and whoever keeps the bytes compares
 * checksums of whole blocks.
 */
export function encodeFrame(type: number, id: number, payload: Uint8Array): Buffer {
  const [head, tail] = frameAround(type, id, [payload]);
  return Buffer.concat([head, payload, tail]);
}

/** What goes before and after the parts of a payload that is sent without a copy. */
export function frameAround(type: number, id: number, parts: readonly Uint8Array[]): [head: Buffer, tail: Buffer] {
  const bytes = parts.reduce((sum, part) => sum + part.byteLength, 0);
  const head = Buffer.allocUnsafe(HEADER_BYTES);
  head.writeUInt32LE(HEADER_BYTES - LENGTH_BYTES + bytes + TRAILER_BYTES, 0);
  head.writeUInt8(type, 4);
  head.writeUInt32LE(id, 5);
  const tail = Buffer.allocUnsafe(TRAILER_BYTES);
  const checked = type === frameTypes.data ? [] : parts;
  tail.writeUInt32LE(
    checked.reduce((sum, part) => crc32(part, sum), crc32(head)),
    0,
  );
  return [head, tail];
}

/** What frames are given to. */
export interface FrameSink {
  /** Part of the payload of a data frame, as it comes; only valid now. */
  data(id: number, bytes: Buffer): void;
  /** Any other frame. */
  frame(frame: Frame): void;
}

/** Cuts a stream of bytes into frames without gathering data. Throws `backend_protocol` for damaged ones. */
export class FrameReader {
  readonly #sink: FrameSink;
  readonly #head = Buffer.alloc(HEADER_BYTES);
  readonly #tail = Buffer.alloc(TRAILER_BYTES);
  #headBytes = 0;
  #tailBytes = 0;
  /** Bytes of the payload that are still to come, and what came of it where it is gathered. */
  #left = 0;
  #gathered: Buffer[] = [];
  #crc = 0;

  constructor(sink: FrameSink) {
    this.#sink = sink;
  }

  /** `chunk` may be used again afterwards. */
  push(chunk: Buffer): void {
    for (let at = 0; at < chunk.length; ) {
      if (this.#headBytes < HEADER_BYTES) at = this.#takeHead(chunk, at);
      else if (this.#left > 0) at = this.#takePayload(chunk, at);
      else at = this.#takeTail(chunk, at);
    }
  }

  #takeHead(chunk: Buffer, at: number): number {
    const taken = chunk.copy(this.#head, this.#headBytes, at, at + HEADER_BYTES - this.#headBytes);
    this.#headBytes += taken;
    if (this.#headBytes < HEADER_BYTES) return at + taken;
    const length = this.#head.readUInt32LE(0) + LENGTH_BYTES;
    if (length < HEADER_BYTES + TRAILER_BYTES || length > MAX_FRAME_BYTES) throw damaged('its length is impossible');
    this.#left = length - HEADER_BYTES - TRAILER_BYTES;
    this.#crc = crc32(this.#head);
    return at + taken;
  }

  #takePayload(chunk: Buffer, at: number): number {
    const part = chunk.subarray(at, at + this.#left);
    this.#left -= part.length;
    if (this.#type === frameTypes.data) {
      this.#sink.data(this.#head.readUInt32LE(5), part);
    } else {
      this.#crc = crc32(part, this.#crc);
      this.#gathered.push(Buffer.from(part));
    }
    return at + part.length;
  }

  #takeTail(chunk: Buffer, at: number): number {
    const taken = chunk.copy(this.#tail, this.#tailBytes, at, at + TRAILER_BYTES - this.#tailBytes);
    this.#tailBytes += taken;
    if (this.#tailBytes < TRAILER_BYTES) return at + taken;
    if (this.#tail.readUInt32LE(0) !== this.#crc) throw damaged('its checksum is wrong');
    const frame = { type: this.#type, id: this.#head.readUInt32LE(5), payload: Buffer.concat(this.#gathered) };
    this.#headBytes = 0;
    this.#tailBytes = 0;
    this.#gathered = [];
    if (frame.type !== frameTypes.data) this.#sink.frame(frame);
    return at + taken;
  }

  get #type(): number {
    return this.#head.readUInt8(4);
  }
}

function damaged(why: string): StatorError {
  return new StatorError('backend_protocol', `The peer sent a damaged frame: ${why}.`);
}

/** A piece of the other side's memory. */
export interface WirePiece {
  readonly region: number;
  readonly offset: number;
  readonly bytes: number;
}

const PIECE_BYTES = 20;
const WORD = 2 ** 32;

export function encodePieces(pieces: readonly WirePiece[]): Buffer {
  const list = Buffer.allocUnsafe(pieces.length * PIECE_BYTES);
  let at = 0;
  for (const { region, offset, bytes } of pieces) {
    list.writeUInt32LE(region, at);
    writeWhole(list, offset, at + 4);
    writeWhole(list, bytes, at + 12);
    at += PIECE_BYTES;
  }
  return list;
}

export function decodePieces(list: Buffer): WirePiece[] {
  if (list.length === 0 || list.length % PIECE_BYTES !== 0) throw damaged('its list of pieces is cut off');
  return Array.from({ length: list.length / PIECE_BYTES }, (_, index) => {
    const at = index * PIECE_BYTES;
    return { region: list.readUInt32LE(at), offset: readWhole(list, at + 4), bytes: readWhole(list, at + 12) };
  });
}

/** 64 bits little-endian, without a bigint for each. What is no safe integer is refused where it is used. */
function writeWhole(list: Buffer, value: number, at: number): void {
  list.writeUInt32LE(value % WORD, at);
  list.writeUInt32LE(Math.floor(value / WORD), at + 4);
}

function readWhole(list: Buffer, at: number): number {
  return list.readUInt32LE(at + 4) * WORD + list.readUInt32LE(at);
}
