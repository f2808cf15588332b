import { toBinary } from '@bufbuild/protobuf';
import {
  type SlotFinished,
  SlotFinishedSchema,
  type SlotLogprobs,
  SlotLogprobsSchema,
  type SlotPrefilled,
  SlotPrefilledSchema,
} from '#gen/stator/engine/v1/session_pb.ts';
import { varintSize, writeVarint } from './varint.ts';

const TAG_NUMBER = (1 << 3) | 0;
const TAG_SLOTS = (2 << 3) | 2;
const TAG_TOKEN_IDS = (3 << 3) | 2;
const TAG_PREFILLED = (4 << 3) | 2;
const TAG_FINISHED = (5 << 3) | 2;
const TAG_LOGPROBS = (6 << 3) | 2;

/** Collects one StepFrame and encodes it. The columns are reused from frame to frame: a token allocates nothing. */
export class FrameWriter {
  #slots = new Uint32Array(64);
  #tokenIds = new Uint32Array(64);
  #tokens = 0;
  readonly prefilled: SlotPrefilled[] = [];
  readonly finished: SlotFinished[] = [];
  readonly logprobs: SlotLogprobs[] = [];

  get tokens(): number {
    return this.#tokens;
  }

  get empty(): boolean {
    return this.#tokens === 0 && this.finished.length === 0 && this.prefilled.length === 0;
  }

  /** Returns the token's index in the columns. */
  addToken(slot: number, tokenId: number): number {
    const entry = this.#tokens;
    if (entry === this.#slots.length) this.#grow();
    this.#slots[entry] = slot;
    this.#tokenIds[entry] = tokenId;
    this.#tokens = entry + 1;
    return entry;
  }

  /** The bytes of the StepFrame behind their length, as field 2 of SessionResponse holds them. Empties the writer. */
  take(number: number): Uint8Array {
    const slotBytes = columnSize(this.#slots, this.#tokens);
    const tokenBytes = columnSize(this.#tokenIds, this.#tokens);
    const sparse: Uint8Array[] = [];
    for (const item of this.prefilled) sparse.push(toBinary(SlotPrefilledSchema, item));
    for (const item of this.finished) sparse.push(toBinary(SlotFinishedSchema, item));
    for (const item of this.logprobs) sparse.push(toBinary(SlotLogprobsSchema, item));
    let size = 1 + varintSize(number);
    if (this.#tokens > 0) size += 2 + varintSize(slotBytes) + slotBytes + varintSize(tokenBytes) + tokenBytes;
    for (const item of sparse) size += 1 + varintSize(item.length) + item.length;

    const bytes = Buffer.allocUnsafe(varintSize(size) + size);
    let at = writeVarint(bytes, 0, size);
    bytes[at++] = TAG_NUMBER;
    at = writeVarint(bytes, at, number);
    if (this.#tokens > 0) {
      at = writeColumn(bytes, at, TAG_SLOTS, this.#slots, this.#tokens, slotBytes);
      at = writeColumn(bytes, at, TAG_TOKEN_IDS, this.#tokenIds, this.#tokens, tokenBytes);
    }
    this.#writeSparse(bytes, at, sparse);
    this.#clear();
    return bytes;
  }

  #writeSparse(bytes: Uint8Array, start: number, sparse: readonly Uint8Array[]): void {
    let at = start;
    const afterPrefilled = this.prefilled.length;
    const afterFinished = afterPrefilled + this.finished.length;
    for (const [index, item] of sparse.entries()) {
      bytes[at++] = index < afterPrefilled ? TAG_PREFILLED : index < afterFinished ? TAG_FINISHED : TAG_LOGPROBS;
      at = writeVarint(bytes, at, item.length);
      bytes.set(item, at);
      at += item.length;
    }
  }

  #clear(): void {
    this.#tokens = 0;
    this.prefilled.length = 0;
    this.finished.length = 0;
    this.logprobs.length = 0;
  }

  #grow(): void {
    const slots = new Uint32Array(this.#slots.length * 2);
    const tokenIds = new Uint32Array(slots.length);
    slots.set(this.#slots);
    tokenIds.set(this.#tokenIds);
    this.#slots = slots;
    this.#tokenIds = tokenIds;
  }
}

function columnSize(column: Uint32Array, length: number): number {
  let size = 0;
  for (let i = 0; i < length; i++) size += varintSize(column[i] ?? 0);
  return size;
}

function writeColumn(
  bytes: Uint8Array,
  start: number,
  tag: number,
  column: Uint32Array,
  length: number,
  size: number,
): number {
  let at = start;
  bytes[at++] = tag;
  at = writeVarint(bytes, at, size);
  for (let i = 0; i < length; i++) at = writeVarint(bytes, at, column[i] ?? 0);
  return at;
}
