// Messages of workers' event streams, encoded as a worker would, without an object for each event.
import { Tier } from '#gen/stator/events/v1/events_pb.ts';
import { type ChangeSection, type Data, MESSAGE_EVENTS } from './layout.ts';

/** An encoded SubscribeKvEventsResponse of one worker. */
export interface Message {
  readonly worker: number;
  readonly bytes: Uint8Array;
  readonly events: number;
  readonly blocks: number;
}

const removalSections: readonly ChangeSection[] = ['removals', 'mixedRemovals'];

/** Encodes a section's changes in events of at most so many blocks. Sequence numbers count up from 1 for each worker. */
export function* encodeMessages(data: Data, section: ChangeSection, blocksPerEvent: number): Generator<Message> {
  const changes = data.changes[section];
  const removal = removalSections.includes(section);
  const numbers = new Uint32Array(data.workers).fill(1);
  let writer: MessageWriter | undefined;
  for (let row = 0; row < changes.length; row += 4) {
    const [worker = 0, offset = 0, count = 0, hasParent = 0] = changes.subarray(row, row + 4);
    for (let done = 0; done < count; done += blocksPerEvent) {
      if (writer !== undefined && (writer.worker !== worker || writer.events === MESSAGE_EVENTS)) {
        yield writer.finish();
        writer = undefined;
      }
      writer ??= new MessageWriter(worker, data);
      const blocks = Math.min(blocksPerEvent, count - done);
      const number = numbers[worker] ?? 0;
      numbers[worker] = number + 1;
      if (removal) writer.removed(number, offset + count - done - blocks, blocks);
      else writer.stored(number, offset + done, blocks, hasParent === 1 || done > 0);
    }
  }
  if (writer !== undefined) yield writer.finish();
}

const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;

/** Grows with use; every message is copied out of it. */
let buffer = new Uint8Array(1 << 16);

class MessageWriter {
  readonly worker: number;
  events = 0;
  #blocks = 0;
  #newest = 0;
  #at = 0;
  readonly #data: Data;
  readonly #hashes: Uint8Array;

  constructor(worker: number, data: Data) {
    this.worker = worker;
    this.#data = data;
    const { buffer: memory, byteOffset, byteLength } = data.sequenceHashes;
    this.#hashes = new Uint8Array(memory, byteOffset, byteLength);
  }

  stored(number: number, offset: number, count: number, hasParent: boolean): void {
    const change = (hasParent ? 9 : 0) + columnSize(count) + 2;
    this.#event(number, 3, change, count);
    if (hasParent) {
      this.#byte((1 << 3) | FIXED64);
      this.#hash(offset - 1);
    }
    this.#columnHead(2, count);
    for (let i = 0; i < count; i++) this.#hash(offset + i);
    this.#byte((4 << 3) | VARINT);
    this.#byte(Tier.DEVICE);
  }

  /** From the last block to the first, as engines free them. */
  removed(number: number, offset: number, count: number): void {
    this.#event(number, 4, columnSize(count) + 2, count);
    this.#columnHead(1, count);
    for (let i = count - 1; i >= 0; i--) this.#hash(offset + i);
    this.#byte((2 << 3) | VARINT);
    this.#byte(Tier.DEVICE);
  }

  finish(): Message {
    const size = varintSize(this.#at);
    const bytes = new Uint8Array(1 + size + this.#at + 1 + varintSize(this.#newest));
    bytes[0] = (1 << 3) | BYTES;
    let at = putVarint(bytes, 1, this.#at);
    bytes.set(buffer.subarray(0, this.#at), at);
    at += this.#at;
    bytes[at] = (4 << 3) | VARINT;
    putVarint(bytes, at + 1, this.#newest);
    return { worker: this.worker, bytes, events: this.events, blocks: this.#blocks };
  }

  #event(number: number, field: number, changeSize: number, blocks: number): void {
    this.events++;
    this.#blocks += blocks;
    this.#newest = number;
    const size = 1 + varintSize(number) + 1 + varintSize(changeSize) + changeSize;
    this.#reserve(size + 8);
    this.#byte((1 << 3) | BYTES);
    this.#varint(size);
    this.#byte((1 << 3) | VARINT);
    this.#varint(number);
    this.#byte((field << 3) | BYTES);
    this.#varint(changeSize);
  }

  #columnHead(field: number, count: number): void {
    this.#byte((field << 3) | BYTES);
    this.#varint(count * 8);
  }

  #hash(offset: number): void {
    const from = (this.#data.nodes[offset] ?? 0) * 8;
    for (let i = 0; i < 8; i++) buffer[this.#at + i] = this.#hashes[from + i] ?? 0;
    this.#at += 8;
  }

  #byte(value: number): void {
    buffer[this.#at++] = value;
  }

  #varint(value: number): void {
    this.#at = putVarint(buffer, this.#at, value);
  }

  #reserve(size: number): void {
    if (this.#at + size <= buffer.length) return;
    const wider = new Uint8Array(2 * (this.#at + size));
    wider.set(buffer);
    buffer = wider;
  }
}

function columnSize(count: number): number {
  return 1 + varintSize(count * 8) + count * 8;
}

function varintSize(value: number): number {
  let size = 1;
  for (let rest = value >>> 7; rest > 0; rest >>>= 7) size++;
  return size;
}

function putVarint(bytes: Uint8Array, at: number, value: number): number {
  let [next, rest] = [at, value];
  for (; rest > 0x7f; rest >>>= 7) bytes[next++] = (rest & 0x7f) | 0x80;
  bytes[next++] = rest;
  return next;
}
