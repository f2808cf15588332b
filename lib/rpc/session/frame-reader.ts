import { fromBinary } from '@bufbuild/protobuf';
import {
  type SlotFinished,
  SlotFinishedSchema,
  type SlotLogprobs,
  SlotLogprobsSchema,
  type SlotPrefilled,
  SlotPrefilledSchema,
} from '#gen/stator/engine/v1/session_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';

const VARINT = 0;
const FIXED64 = 1;
const LENGTH_DELIMITED = 2;
const FIXED32 = 5;

/**
 * Reads StepFrames from the bytes of SessionResponses, into columns that are reused: what `read` leaves here is valid until
 * the next read. Fields it does not know are skipped, as newer workers may send them.
 */
export class FrameReader {
  number = 0;
  tokens = 0;
  slots = new Uint32Array(256);
  tokenIds = new Uint32Array(256);
  readonly prefilled: SlotPrefilled[] = [];
  readonly finished: SlotFinished[] = [];
  readonly logprobs: SlotLogprobs[] = [];
  #bytes: Uint8Array = new Uint8Array();
  #at = 0;

  /** Whether the message is a frame; others are left to the generated code. Throws StatorError `backend_protocol` for bytes that are no message. */
  read(message: Uint8Array): boolean {
    // Field 2 of SessionResponse, length-delimited: a frame is its message's only field.
    if (message[0] !== 0x12) return false;
    this.#bytes = message;
    this.#at = 1;
    const length = this.#length();
    const end = this.#at + length;
    this.#reset();
    while (this.#at < end) this.#field();
    if (this.#at !== end || this.#slotCount !== this.tokens) throw malformed();
    return true;
  }

  #slotCount = 0;

  #reset(): void {
    this.number = 0;
    this.tokens = 0;
    this.#slotCount = 0;
    this.prefilled.length = 0;
    this.finished.length = 0;
    this.logprobs.length = 0;
  }

  #field(): void {
    const tag = this.#varint();
    switch (tag) {
      case (1 << 3) | VARINT:
        this.number = this.#varint();
        return;
      case (2 << 3) | LENGTH_DELIMITED:
        this.slots = this.#column(this.slots);
        this.#slotCount = this.#columnLength;
        return;
      case (3 << 3) | LENGTH_DELIMITED:
        this.tokenIds = this.#column(this.tokenIds);
        this.tokens = this.#columnLength;
        return;
      case (4 << 3) | LENGTH_DELIMITED:
        this.prefilled.push(fromBinary(SlotPrefilledSchema, this.#slice()));
        return;
      case (5 << 3) | LENGTH_DELIMITED:
        this.finished.push(fromBinary(SlotFinishedSchema, this.#slice()));
        return;
      case (6 << 3) | LENGTH_DELIMITED:
        this.logprobs.push(fromBinary(SlotLogprobsSchema, this.#slice()));
        return;
      default:
        this.#skip(tag & 7);
    }
  }

  #columnLength = 0;

  /** Reads a packed column into `column`, or into a larger one where it does not fit, and returns it. */
  #column(column: Uint32Array<ArrayBuffer>): Uint32Array<ArrayBuffer> {
    const length = this.#length();
    const end = this.#at + length;
    // An entry has at least one byte, so the byte count bounds the entries.
    const target = length <= column.length ? column : new Uint32Array(Math.max(length, column.length * 2));
    const bytes = this.#bytes;
    let at = this.#at;
    let count = 0;
    while (at < end) {
      let byte = bytes[at++] ?? 0;
      let value = byte & 0x7f;
      for (let shift = 7; byte >= 0x80; shift += 7) {
        if (shift > 28 || at >= end) throw malformed();
        byte = bytes[at++] ?? 0;
        value |= (byte & 0x7f) << shift;
      }
      target[count++] = value;
    }
    this.#at = at;
    this.#columnLength = count;
    return target;
  }

  #slice(): Uint8Array {
    const length = this.#length();
    const slice = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return slice;
  }

  /** A length that the message still holds. */
  #length(): number {
    const length = this.#varint();
    if (length > this.#bytes.length - this.#at) throw malformed();
    return length;
  }

  /** A varint as a number; beyond 2^53 digits are lost, which no field that is read here reaches. */
  #varint(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 0x80) {
      const byte = this.#bytes[this.#at++];
      if (byte === undefined || scale > 2 ** 63) throw malformed();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  }

  #skip(wireType: number): void {
    if (wireType === VARINT) this.#varint();
    else if (wireType === LENGTH_DELIMITED) this.#slice();
    else if (wireType === FIXED64) this.#at += 8;
    else if (wireType === FIXED32) this.#at += 4;
    else throw malformed();
  }
}

function malformed(): StatorError {
  return new StatorError('backend_protocol', 'worker sent a session message that is malformed');
}
