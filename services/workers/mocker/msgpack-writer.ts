/** What vLLM's events consist of. */
export type Packable = null | number | bigint | string | readonly Packable[];

/** The value in msgpack: integers in as few bytes as they need, other numbers as doubles. */
export function packMessage(value: Packable): Uint8Array {
  const writer = new Writer();
  writer.write(value);
  return writer.bytes();
}

class Writer {
  #buffer = Buffer.allocUnsafe(1024);
  #length = 0;

  bytes(): Uint8Array {
    return new Uint8Array(this.#buffer.subarray(0, this.#length));
  }

  write(value: Packable): void {
    if (value === null) this.#byte(0xc0);
    else if (typeof value === 'string') this.#string(value);
    else if (typeof value === 'bigint') this.#unsigned(value);
    else if (typeof value === 'number') this.#number(value);
    else this.#array(value);
  }

  #number(value: number): void {
    if (Number.isInteger(value) && value >= 0 && value < 2 ** 32) {
      if (value < 0x80) this.#byte(value);
      else if (value < 2 ** 16) this.#byte(0xcd, (at) => this.#buffer.writeUInt16BE(value, at), 2);
      else this.#byte(0xce, (at) => this.#buffer.writeUInt32BE(value, at), 4);
    } else this.#byte(0xcb, (at) => this.#buffer.writeDoubleBE(value, at), 8);
  }

  #unsigned(value: bigint): void {
    this.#byte(0xcf, (at) => this.#buffer.writeBigUInt64BE(value, at), 8);
  }

  #string(value: string): void {
    const bytes = Buffer.from(value);
    this.#byte(0xdb, (at) => this.#buffer.writeUInt32BE(bytes.length, at), 4);
    this.#reserve(bytes.length);
    bytes.copy(this.#buffer, this.#length);
    this.#length += bytes.length;
  }

  #array(values: readonly Packable[]): void {
    if (values.length < 16) this.#byte(0x90 | values.length);
    else this.#byte(0xdd, (at) => this.#buffer.writeUInt32BE(values.length, at), 4);
    for (const value of values) this.write(value);
  }

  #byte(byte: number, write?: (at: number) => void, size = 0): void {
    this.#reserve(1 + size);
    this.#buffer[this.#length] = byte;
    write?.(this.#length + 1);
    this.#length += 1 + size;
  }

  #reserve(size: number): void {
    if (this.#length + size <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(2 * this.#buffer.length, this.#length + size));
    this.#buffer.copy(larger, 0, 0, this.#length);
    this.#buffer = larger;
  }
}
