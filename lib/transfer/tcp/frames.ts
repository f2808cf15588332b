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

export const maxPayloadBytes = 256 * 1024;
const HEADER_BYTES = 9;
const TRAILER_BYTES = 4;
/** Lists of pieces may be longer than data. */
const MAX_FRAME_BYTES = 32 << 20;

/** `u32 bytes after this, u8 type, u32 id, payload, u32 CRC-32 of type, id and payload`, little-endian. Copies the payload. */
export function encodeFrame(type: number, id: number, payload: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(HEADER_BYTES + payload.byteLength + TRAILER_BYTES);
  frame.writeUInt32LE(frame.length - 4, 0);
  frame.writeUInt8(type, 4);
  frame.writeUInt32LE(id, 5);
  frame.set(payload, HEADER_BYTES);
  const end = frame.length - TRAILER_BYTES;
  frame.writeUInt32LE(crc32(frame.subarray(4, end)), end);
  return frame;
}

/** Cuts a stream of bytes into frames. Throws `backend_protocol` for damaged ones. */
export class FrameReader {
  #chunks: Buffer[] = [];
  #bytes = 0;
  #wanted = 4;

  *push(chunk: Buffer): Generator<Frame> {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    while (this.#bytes >= this.#wanted) {
      const buffer = this.#chunks.length === 1 ? (this.#chunks[0] ?? chunk) : Buffer.concat(this.#chunks, this.#bytes);
      const length = buffer.readUInt32LE(0) + 4;
      if (length < HEADER_BYTES + TRAILER_BYTES || length > MAX_FRAME_BYTES) throw damaged('its length is impossible');
      const complete = buffer.length >= length;
      const rest = complete ? buffer.subarray(length) : buffer;
      this.#chunks = [rest];
      this.#bytes = rest.length;
      this.#wanted = complete ? 4 : length;
      if (complete) yield decode(buffer.subarray(0, length));
    }
  }
}

function decode(frame: Buffer): Frame {
  const end = frame.length - TRAILER_BYTES;
  if (crc32(frame.subarray(4, end)) !== frame.readUInt32LE(end)) throw damaged('its checksum is wrong');
  return { type: frame.readUInt8(4), id: frame.readUInt32LE(5), payload: frame.subarray(HEADER_BYTES, end) };
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

export function encodePieces(pieces: readonly WirePiece[]): Buffer {
  const list = Buffer.allocUnsafe(pieces.length * PIECE_BYTES);
  let at = 0;
  for (const { region, offset, bytes } of pieces) {
    at = list.writeUInt32LE(region, at);
    at = list.writeBigUInt64LE(BigInt(offset), at);
    at = list.writeBigUInt64LE(BigInt(bytes), at);
  }
  return list;
}

export function decodePieces(list: Buffer): WirePiece[] {
  if (list.length === 0 || list.length % PIECE_BYTES !== 0) throw damaged('its list of pieces is cut off');
  return Array.from({ length: list.length / PIECE_BYTES }, (_, index) => {
    const at = index * PIECE_BYTES;
    const [offset, bytes] = [list.readBigUInt64LE(at + 4), list.readBigUInt64LE(at + 12)];
    return { region: list.readUInt32LE(at), offset: Number(offset), bytes: Number(bytes) };
  });
}
