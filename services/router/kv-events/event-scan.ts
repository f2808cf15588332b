/** Kinds of events as `EventScan` tells them. */
export const eventKinds = ['unknown', 'stored', 'removed', 'cleared'] as const;

export type EventKind = (typeof eventKinds)[number];

/** Bytes that are no KvEventBatch. */
export class MalformedBatchError extends Error {
  override readonly name = 'MalformedBatchError';
}

// Keys of fields (number and wire type) in stator.events.v1.KvEventBatch and KvEvent.
const eventsKey = 0x0a;
const sequenceNumberKey = 0x08;
const storedKey = 0x1a;
const removedKey = 0x22;
const clearedKey = 0x2a;

/**
 * Number, kind and place of every event in an encoded KvEventBatch, read without making an object for each. The columns are
 * used again by the next `read`.
 */
export class EventScan {
  count = 0;
  numbers: Float64Array<ArrayBuffer> = new Float64Array(16);
  /** Byte after each event; it begins where the one before it ends. */
  ends: Uint32Array<ArrayBuffer> = new Uint32Array(16);
  /** Index in `eventKinds`. */
  kinds: Uint8Array<ArrayBuffer> = new Uint8Array(16);
  #bytes: Uint8Array = new Uint8Array();
  #at = 0;

  /** Throws MalformedBatchError. */
  read(batch: Uint8Array): void {
    this.#bytes = batch;
    this.#at = 0;
    this.count = 0;
    while (this.#at < batch.length) {
      const key = this.#varint();
      if (key === eventsKey) this.#event();
      else this.#skip(key);
    }
  }

  /** First byte of an event. */
  start(event: number): number {
    return event === 0 ? 0 : (this.ends[event - 1] ?? 0);
  }

  #event(): void {
    const length = this.#varint();
    const end = this.#at + length;
    if (end > this.#bytes.length) throw truncated();
    let number = 0;
    let kind = 0;
    while (this.#at < end) {
      const key = this.#varint();
      if (key === sequenceNumberKey) number = this.#varint();
      else {
        if (key === storedKey) kind = 1;
        else if (key === removedKey) kind = 2;
        else if (key === clearedKey) kind = 3;
        this.#skip(key);
      }
    }
    if (this.#at !== end) throw truncated();
    if (this.count === this.numbers.length) this.#grow();
    this.numbers[this.count] = number;
    this.kinds[this.count] = kind;
    this.ends[this.count] = end;
    this.count++;
  }

  #skip(key: number): void {
    const wireType = key & 7;
    if (wireType === 0) this.#varint();
    else if (wireType === 1) this.#at += 8;
    else if (wireType === 2) {
      // Read first: `+=` would take the position from before it.
      const length = this.#varint();
      this.#at += length;
    } else if (wireType === 5) this.#at += 4;
    else throw new MalformedBatchError(`a field has the wire type ${wireType}`);
    if (this.#at > this.#bytes.length) throw truncated();
  }

  /** Exact up to 2^53, which numbers of events stay below. */
  #varint(): number {
    let value = 0;
    let scale = 1;
    for (let i = 0; i < 10; i++) {
      const byte = this.#bytes[this.#at++];
      if (byte === undefined) throw truncated();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 128;
    }
    throw new MalformedBatchError('a number has more than ten bytes');
  }

  #grow(): void {
    const length = this.numbers.length * 2;
    const { numbers, ends, kinds } = this;
    this.numbers = new Float64Array(length);
    this.ends = new Uint32Array(length);
    this.kinds = new Uint8Array(length);
    this.numbers.set(numbers);
    this.ends.set(ends);
    this.kinds.set(kinds);
  }
}

function truncated(): MalformedBatchError {
  return new MalformedBatchError('the bytes end within a field');
}
