/** Bytes are no MessagePack, or no value of the kind that was asked for. */
export class MsgpackError extends Error {
  override readonly name = 'MsgpackError';
}

export type MsgpackKind = 'nil' | 'boolean' | 'integer' | 'float' | 'string' | 'bytes' | 'array' | 'map' | 'extension';

const utf8 = new TextDecoder();

/**
 * Reads MessagePack value by value, as far as its reader wants and into the form that it wants: no tree of objects, no
 * bigint for a number in a column, and no more memory than the bytes can fill, whatever lengths they claim.
 * Every method throws MsgpackError, and leaves the reader where it was, when the next value is not what it is named for.
 */
export class MsgpackReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get position(): number {
    return this.#at;
  }

  /** Goes back to a position that was read before. */
  seek(position: number): void {
    this.#at = position;
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length;
  }

  kind(): MsgpackKind {
    const byte = this.#bytes[this.#at];
    if (byte === undefined) throw new MsgpackError(`the bytes end at ${this.#at}, where a value should begin`);
    if (byte < 0x80 || byte >= 0xe0) return 'integer';
    if (byte < 0x90) return 'map';
    if (byte < 0xa0) return 'array';
    if (byte < 0xc0) return 'string';
    return kinds[byte - 0xc0] ?? this.#fail('a value, found a byte that begins none');
  }

  /** Takes a nil; false, and nothing taken, when something else comes. */
  nil(): boolean {
    if (this.kind() !== 'nil') return false;
    this.#at++;
    return true;
  }

  boolean(): boolean {
    if (this.kind() !== 'boolean') return this.#fail('a boolean');
    return this.#bytes[this.#at++] === 0xc3;
  }

  /** A number, integer or not. Integers beyond 2^53 lose their last digits; hashes are read by `hash`. */
  number(): number {
    if (this.kind() === 'integer') return Number(this.bigint());
    if (this.kind() !== 'float') return this.#fail('a number');
    const double = this.#bytes[this.#at] === 0xcb;
    const at = this.#take(1, double ? 8 : 4);
    return double ? this.#view.getFloat64(at) : this.#view.getFloat32(at);
  }

  /** An integer from 0 to 2^32 - 1. */
  uint32(): number {
    const byte = this.kind() === 'integer' ? (this.#bytes[this.#at] ?? 0) : 0xff;
    if (byte < 0x80) {
      this.#at++;
      return byte;
    }
    if (byte === 0xcd) return this.#view.getUint16(this.#take(1, 2));
    if (byte === 0xce) return this.#view.getUint32(this.#take(1, 4));
    if (byte === 0xcc) return this.#view.getUint8(this.#take(1, 1));
    const before = this.#at;
    const value = this.kind() === 'integer' ? this.bigint() : -1n;
    if (value >= 0n && value <= 0xffffffffn) return Number(value);
    this.#at = before;
    return this.#fail('an integer from 0 to 2^32 - 1');
  }

  /** An integer of any width, exact. */
  bigint(): bigint {
    if (this.kind() !== 'integer') return this.#fail('an integer');
    const byte = this.#bytes[this.#at] ?? 0;
    if (byte < 0x80 || byte >= 0xe0) return BigInt(this.#view.getInt8(this.#take(0, 1)));
    const width = 1 << (byte & 3);
    const at = this.#take(1, width);
    const value = width === 8 ? this.#view.getBigUint64(at) : BigInt(this.#small(at, width));
    return byte < 0xd0 ? value : BigInt.asIntN(width * 8, value);
  }

  string(): string {
    if (this.kind() !== 'string') return this.#fail('a string');
    return utf8.decode(this.#raw());
  }

  /** A view of the bytes. */
  bytes(): Uint8Array {
    if (this.kind() !== 'bytes') return this.#fail('bytes');
    return this.#raw();
  }

  /** Length of an array; its elements follow. */
  array(): number {
    if (this.kind() !== 'array') return this.#fail('an array');
    return this.#length();
  }

  /** Number of entries of a map; key and value of each follow. */
  map(): number {
    if (this.kind() !== 'map') return this.#fail('a map');
    return this.#length();
  }

  /** Passes over a value and everything in it. */
  skip(): void {
    const before = this.#at;
    try {
      for (let values = 1; values > 0; values--) values += this.#skipOne();
    } catch (error) {
      this.#at = before;
      throw error;
    }
  }

  /** Passes over a scalar or the head of a collection; returns how many values are in it. */
  #skipOne(): number {
    const kind = this.kind();
    if (kind === 'array') return this.#length();
    if (kind === 'map') return this.#length() * 2;
    if (kind === 'string' || kind === 'bytes') {
      this.#raw();
      return 0;
    }
    this.#take(0, this.#scalarBytes(kind));
    return 0;
  }

  #scalarBytes(kind: MsgpackKind): number {
    const byte = this.#bytes[this.#at] ?? 0;
    if (kind === 'nil' || kind === 'boolean' || byte < 0x80 || byte >= 0xe0) return 1;
    if (kind === 'integer') return 1 + (1 << (byte & 3));
    if (kind === 'float') return byte === 0xcb ? 9 : 5;
    if (byte >= 0xd4) return 2 + (1 << (byte - 0xd4));
    const width = 1 << (byte - 0xc7);
    return 2 + width + this.#small(this.#within(this.#at + 1, width), width);
  }

  /** Length of the array or map that begins here. Each element takes a byte at least, so more than is left is a lie. */
  #length(): number {
    const byte = this.#bytes[this.#at] ?? 0;
    const map = byte < 0x90 || byte >= 0xde;
    const width = byte < 0xa0 ? 0 : (byte & 1) === 0 ? 2 : 4;
    const length = width === 0 ? byte & 15 : this.#small(this.#within(this.#at + 1, width), width);
    const left = this.#bytes.length - this.#at - 1 - width;
    if ((map ? length * 2 : length) > left) return this.#short(`${length} elements`, left);
    this.#at += 1 + width;
    return length;
  }

  #raw(): Uint8Array {
    const byte = this.#bytes[this.#at] ?? 0;
    const width = byte < 0xc0 ? 0 : 1 << (byte < 0xd9 ? byte - 0xc4 : byte - 0xd9);
    const length = width === 0 ? byte & 31 : this.#small(this.#within(this.#at + 1, width), width);
    const at = this.#take(1 + width, length);
    return this.#bytes.subarray(at, at + length);
  }

  #small(at: number, width: number): number {
    if (width === 1) return this.#view.getUint8(at);
    return width === 2 ? this.#view.getUint16(at) : this.#view.getUint32(at);
  }

  /** Takes a head and a body; returns where the body begins. */
  #take(head: number, body: number): number {
    const at = this.#within(this.#at + head, body);
    this.#at = at + body;
    return at;
  }

  #within(at: number, length: number): number {
    if (at + length <= this.#bytes.length) return at;
    return this.#short(`${length} bytes`, this.#bytes.length - at);
  }

  #fail(wanted: string): never {
    throw new MsgpackError(`at byte ${this.#at}: expected ${wanted}`);
  }

  #short(what: string, left: number): never {
    throw new MsgpackError(`at byte ${this.#at}: ${what} claimed, ${left} bytes left`);
  }
}

/** Kinds of the bytes 0xc0 to 0xdf. 0xc1 is never used. */
const kinds: readonly (MsgpackKind | undefined)[] = [
  'nil',
  undefined,
  ...repeat('boolean', 2),
  ...repeat('bytes', 3),
  ...repeat('extension', 3),
  ...repeat('float', 2),
  ...repeat('integer', 8),
  ...repeat('extension', 5),
  ...repeat('string', 3),
  ...repeat('array', 2),
  ...repeat('map', 2),
];

function repeat(kind: MsgpackKind, times: number): MsgpackKind[] {
  return Array.from({ length: times }, () => kind);
}
